"""Text encoders of transformers with a head on top: how they are loaded, run and deployed."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kd2deploy.core import Batch, Observation, TaskNetworks
from kd2deploy.networks.folder import arguments_of, network
from kd2deploy.networks.labels import MULTI, REGRESSION, SINGLE, fields_of
from kd2deploy.networks.several import each_seen, single
from kd2deploy.networks.tokens import pad_of
from kd2deploy.tasks._attentions import Dropouts
from kd2deploy.tasks._heads import check_labels, head_of, observed_embedding, with_two_outputs
from kd2deploy.tasks._losses import binary_cross_entropy, cross_entropy, squared_error, yes_or_no
from kd2deploy.tasks._pair import check_pair
from kd2deploy.tasks._text_reader import TextReader


class TextNetworks(TaskNetworks):
    """Encoders with one output per label, or a single one for a number."""

    auto = "AutoModelForSequenceClassification"

    def __init__(self, labels: tuple[str, ...], reader: TextReader, problem_type: str = SINGLE) -> None:
        self.labels, self.reader, self.problem_type = labels, reader, problem_type

    def load(self, folder: Path) -> nn.Module:
        net = encoder(self.auto, folder, self.problem_type if self.labels else REGRESSION)
        for one in single(net):
            if self.problem_type != MULTI:
                with_two_outputs(one, self.labels)
            check_labels(one.config, self.labels, folder, self.problem_type)
        return net

    def answers(self) -> dict[str, Any]:
        return fields_of(self.labels, self.problem_type)

    def check_pair(self, teacher: Path, student: Path) -> None:
        check_pair(self.labels, teacher, student)

    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        seen, labels = each_seen(net, batch, needs, self.seen), batch.get("labels")
        return replace(self.judged(seen, labels), members=tuple(self.judged(one, labels) for one in seen.members))

    def seen(self, net: nn.Module, batch: Batch, needs: frozenset[str]) -> Observation:
        return observed(net, self.head(net) if "embedding" in needs else None, batch, needs)

    def judged(self, seen: Observation, labels: Tensor | None) -> Observation:
        """The answer as the task has it, with the task's loss where there are labels."""
        assert seen.logits is not None, "an encoder with a head gives logits"
        loss = None if labels is None else self.loss(seen.logits, labels)
        if self.problem_type == MULTI:
            return replace(seen, logits=yes_or_no(seen.logits), loss=loss, per_label=True)
        if not self.labels:
            return replace(seen, logits=None, values=seen.logits, loss=loss)
        return replace(seen, loss=loss)

    def loss_of(self, logits: Tensor, seen: Observation, labels: Tensor) -> Tensor:
        return self.loss(logits, labels)

    @property
    def loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Of logits and labels, over the labelled rows."""
        if self.problem_type == MULTI:
            return binary_cross_entropy
        return cross_entropy if self.labels else squared_error

    def head(self, net: nn.Module) -> nn.Module:
        return head_of(net, len(self.labels) or 1)

    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        return continuous_words(net, batch)

    def token_table(self, net: nn.Module) -> Tensor:
        return word_embeddings(net)

    def deployed(self, net: nn.Module) -> nn.Module:
        return Deployed(net, tuple(port.name for port in self.reader.ports))

    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
        """Random words, the last of several rows padded in its last quarter; `sequence_length` up to 32 by default."""
        config: Any = net.config
        length = sizes.get("sequence_length", min(self.reader.max_length, 32))
        words = [
            word for word in range(min(5, config.vocab_size - 1), config.vocab_size) if word != config.pad_token_id
        ]
        drawn = torch.randint(len(words), (batch, length), generator=torch.Generator().manual_seed(0))
        found = {"input_ids": torch.tensor(words)[drawn], "attention_mask": torch.ones_like(drawn)}
        if batch > 1 and length > 3:
            found["input_ids"][-1, -(length // 4) :] = config.pad_token_id or 0
            found["attention_mask"][-1, -(length // 4) :] = 0
        if self.reader.token_types:
            found["token_type_ids"] = torch.zeros_like(drawn)
            if self.reader.pair:
                found["token_type_ids"][:, length // 2 :] = found["attention_mask"][:, length // 2 :]
        return found


def encoder(auto: str, folder: Path, answers: str = SINGLE) -> nn.Module:
    """The network in `folder`, which knows its padding."""
    net = network(auto, folder, answers)
    for one in single(net):
        config: Any = one.config
        if config.pad_token_id is None:  # a network that looks for its last word would not find it in a batch
            config.pad_token_id = pad_of(folder)
    return net


def observed(net: nn.Module, head: nn.Module | None, batch: Batch, needs: frozenset[str]) -> Observation:
    """Run an encoder; the logits are as it gives them, and no loss is taken. `head` is what the embedding is for."""
    config: Any = net.config
    taken = arguments_of(net)
    inputs = {name: value for name, value in batch.items() if name in taken and name != "labels"}
    if "inputs_embeds" in inputs:
        inputs.pop("input_ids", None)
    attends, dropouts = "attentions" in needs, Dropouts()
    if attends and config._attn_implementation != "eager":
        net.set_attn_implementation("eager")  # type: ignore[operator]
    read: list[Tensor] = []
    handle = observed_embedding(head, read) if head is not None else None
    try:
        with dropouts if attends else nullcontext():
            seen = net(**inputs, output_hidden_states="hidden" in needs, output_attentions=attends, return_dict=True)
    finally:
        if handle is not None:
            handle.remove()
    mask = batch.get("attention_mask")
    shown = inputs["inputs_embeds"][..., 0] if "inputs_embeds" in inputs else inputs["input_ids"]
    return Observation(
        logits=seen.logits,
        hidden=tuple(seen.hidden_states or ()) if "hidden" in needs else (),
        attentions=tuple(map(dropouts.before, seen.attentions or ())) if attends else (),
        embedding=read[-1] if read else None,
        mask=torch.ones_like(shown, dtype=torch.bool) if mask is None else mask.bool(),
    )


def continuous_words(net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
    """The words as vectors, and the argument that takes them."""
    if "inputs_embeds" in batch:
        return "inputs_embeds", batch["inputs_embeds"]
    words: nn.Module = net.get_input_embeddings()  # type: ignore[operator]
    embedded: Tensor = words(batch["input_ids"])
    return "inputs_embeds", embedded


def word_embeddings(net: nn.Module) -> Tensor:
    table: Tensor = net.get_input_embeddings().weight  # type: ignore[operator]
    return table


class Deployed(nn.Module):
    """Positional inputs, a tuple with the logits."""

    def __init__(self, net: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.net, self.names = net, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        return (self.net(**dict(zip(self.names, inputs, strict=True)), return_dict=True).logits,)
