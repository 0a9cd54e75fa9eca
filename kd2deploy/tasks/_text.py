"""What the text tasks share: how one text or a pair becomes a network's inputs, and how its encoder is run.

Features hold `input_ids` and, where the tokenizer tells texts apart, `token_type_ids`; the attention mask is made when
they are padded.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kd2deploy.core import TEACHER_PREFIX, Batch, Features, Observation, Port, Reading, Row, ServerReader, Table
from kd2deploy.errors import DataError, ModelError
from kd2deploy.tasks._attentions import Dropouts
from kd2deploy.tasks._classification import observed_embedding
from kd2deploy.tasks._encoding import token_columns
from kd2deploy.tasks._folder import arguments_of, network, read_config, tokenizer
from kd2deploy.tasks._reading import counted, reading_of
from kd2deploy.tasks._served_texts import server_code
from kd2deploy.tasks._served_tokens import write_tokenizer
from kd2deploy.tasks._snippets import reading_code, runtime_code
from kd2deploy.tasks._tokens import longest, pad_of, read_length

Array = np.ndarray[Any, Any]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "sentence1", "premise", "question", "review", "content", "body"),
    "text_pair": ("text_pair", "sentence2", "hypothesis", "answer", "passage"),
    "label": ("label", "labels", "class", "category", "target", "intent", "score"),
}
"""What the fields of a text row are usually called in files."""
TOKEN_TYPED = frozenset({"albert", "bert", "electra", "funnel", "mobilebert", "rembert", "squeezebert", "xlnet"})
"""Model types whose networks tell the two texts of a pair apart by token types, and whose ONNX form has that input."""

SNIPPET = """\
{runtime}

{reading}
{constants}

def logits({texts}):
    return run(encoded({texts}))["logits"]


def answer({texts}):
    found = logits({texts})
    return {answer}


print(answer({example}))
"""


def ports_of(folder: Path) -> dict[str, Any]:
    """The task's arguments that depend on the network: whether the one in `folder` reads token types."""
    config = read_config(folder)
    return {"token_types": config["model_type"] in TOKEN_TYPED and config.get("type_vocab_size", 2) > 1}


@dataclass(frozen=True)
class Texts:
    """How texts are read: cut at `max_length` tokens, alone or in pairs, with or without token types as an input."""

    max_length: int = 128
    pair: bool = False
    token_types: bool = False

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise ValueError(f"max_length must be positive, got {self.max_length}")

    def spec(self) -> dict[str, Any]:
        return asdict(self)

    def at(self, folder: Path) -> "Texts":
        """As the network in `folder` reads them."""
        return replace(self, max_length=min(self.max_length, longest(folder)), **ports_of(folder))

    @property
    def ports(self) -> tuple[Port, ...]:
        names = ("input_ids", "attention_mask", *(("token_type_ids",) if self.token_types else ()))
        return tuple(Port(name, "int64", ("batch_size", "sequence_length")) for name in names)

    @property
    def fields(self) -> tuple[str, ...]:
        return ("text", "text_pair") if self.pair else ("text",)

    def encode(self, rows: Sequence[Row], folder: Path) -> Table:
        """Token ids by the tokenizer in `folder`, and `index`; what a task learns from is its own to add."""
        if not rows:
            return Table({}, {}, 0)
        reader, pad = tokenizer(folder.resolve()), pad_of(folder)
        if pad is None:
            raise ModelError(f"the tokenizer in {folder} has no padding token; set one and save it there")
        length = read_length(reader, folder, self.max_length)
        columns = token_columns(reader, [self.of(row) for row in rows], self.pair, length)
        index = np.array([int(row.get("index", place)) for place, row in enumerate(rows)])
        return Table({**columns, "index": index}, {"pad_id": pad}, len(rows))

    def reading(self, rows: Sequence[Row], folder: Path) -> Reading:
        """What is cut off the rows, and what of them the tokenizer in `folder` does not know."""
        reader = tokenizer(folder.resolve())
        length = read_length(reader, folder, self.max_length)
        return reading_of(counted(reader, [self.of(row) for row in rows], self.pair, length), length)

    def of(self, row: Row) -> tuple[str, str]:
        """The row's text and its pair's. Raises DataError where one is missing or not a text."""
        for name in self.fields:
            if not isinstance(row.get(name), str):
                raise DataError(f"row {row.get('index', '?')}: {name} is {row.get(name)!r}, and must be a text")
        return row["text"], row["text_pair"] if self.pair else ""

    @staticmethod
    def flaw(value: Any) -> str:
        """Why a value is no text that a tokenizer reads; empty for one."""
        if not isinstance(value, str):
            return f"{value!r} is no text"
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return f"it holds half of a surrogate pair ({value[error.start]!r}, character {error.start + 1})"
        return ""

    def row(self, given: str, other: str | None) -> Row:
        """One unlabelled row."""
        if self.pair and other is None:
            raise DataError("this task reads pairs; give the second text too")
        return {"text": given, "text_pair": other, "label": None} if self.pair else {"text": given, "label": None}

    def feed(self, features: Sequence[Features]) -> dict[str, Array]:
        arrays = padded(features, "")
        if self.token_types and "token_type_ids" not in arrays:
            arrays["token_type_ids"] = np.zeros_like(arrays["input_ids"])
        return {port.name: arrays[port.name] for port in self.ports}

    def example(self, net: nn.Module, batch: int, sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """Random words, the last of several rows padded in its last quarter; `sequence_length` up to 32 by default."""
        config: Any = net.config
        length = sizes.get("sequence_length", min(self.max_length, 32))
        words = [
            word for word in range(min(5, config.vocab_size - 1), config.vocab_size) if word != config.pad_token_id
        ]
        drawn = torch.randint(len(words), (batch, length), generator=torch.Generator().manual_seed(0))
        found = {"input_ids": torch.tensor(words)[drawn], "attention_mask": torch.ones_like(drawn)}
        if batch > 1 and length > 3:
            found["input_ids"][-1, -(length // 4) :] = config.pad_token_id or 0
            found["attention_mask"][-1, -(length // 4) :] = 0
        if self.token_types:
            found["token_type_ids"] = torch.zeros_like(drawn)
            if self.pair:
                found["token_type_ids"][:, length // 2 :] = found["attention_mask"][:, length // 2 :]
        return found

    def write_as_judged(self, folder: Path) -> None:
        """Say in a bundle's tokenizer files how texts were read."""
        write_tokenizer(folder, self.max_length, [port.name for port in self.ports])

    def server_reader(self) -> ServerReader:
        code = server_code(self.fields, [port.name for port in self.ports], self.max_length)
        return ServerReader(self.fields, code, ("tokenizer.json",))

    def snippet(self, file: str, auto: str, constants: str, answer: str) -> str:
        """Code that serves `file`: `constants` are lines of their own, `answer` an expression of the logits `found`."""
        texts = "texts, others" if self.pair else "texts"
        return SNIPPET.format(
            runtime=runtime_code(file, auto),
            reading=reading_code(texts, [port.name for port in self.ports]),
            texts=texts,
            constants=constants,
            answer=answer,
            example="['a first text'], ['a second one']" if self.pair else "['a text', 'another']",
        )


# networks -------------------------------------------------------------------------------------------------------


def encoder(auto: str, folder: Path) -> nn.Module:
    """The network in `folder`, which knows its padding."""
    net = network(auto, folder)
    config: Any = net.config
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


# batches --------------------------------------------------------------------------------------------------------


def batched(features: Sequence[Features]) -> Batch:
    """Padded inputs, the teacher's own where there are any, and `index`."""
    batch: Batch = {name: torch.from_numpy(array) for name, array in padded(features, "").items()}
    if TEACHER_PREFIX + "input_ids" in features[0]:
        own = padded(features, TEACHER_PREFIX)
        batch.update({TEACHER_PREFIX + name: torch.from_numpy(array) for name, array in own.items()})
    if "index" in features[0]:
        batch["index"] = torch.tensor([row["index"] for row in features], dtype=torch.int64)
    return batch


def padded(features: Sequence[Features], prefix: str) -> dict[str, Array]:
    """The inputs under `prefix`, padded on the right to the longest row, with their attention mask: int64 [B, L]."""
    lengths = [len(row[prefix + "input_ids"]) for row in features]
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    found = {"input_ids": np.full_like(mask, features[0].get(prefix + "pad_id", 0)), "attention_mask": mask}
    if prefix + "token_type_ids" in features[0]:
        found["token_type_ids"] = np.zeros_like(mask)
    for name in found.keys() - {"attention_mask"}:
        for place, row in enumerate(features):
            found[name][place, : lengths[place]] = row[prefix + name]
    return found
