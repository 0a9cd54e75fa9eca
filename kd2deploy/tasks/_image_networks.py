"""Image classifiers of transformers: how they are loaded, run and deployed."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kd2deploy.core import Batch, Observation, TaskNetworks
from kd2deploy.networks.folder import arguments_of, network
from kd2deploy.networks.labels import SINGLE, fields_of
from kd2deploy.networks.several import each_seen, single
from kd2deploy.tasks._attentions import Dropouts
from kd2deploy.tasks._heads import check_labels, head_of, observed_embedding, with_two_outputs
from kd2deploy.tasks._image_reader import ImageReader
from kd2deploy.tasks._losses import cross_entropy
from kd2deploy.tasks._made_pictures import Denoiser, Generator
from kd2deploy.tasks._pair import check_pair


class ImageNetworks(TaskNetworks):
    """Classifiers with one output per label."""

    auto = "AutoModelForImageClassification"

    def __init__(self, labels: tuple[str, ...], reader: ImageReader) -> None:
        self.labels, self.reader = labels, reader

    def load(self, folder: Path) -> nn.Module:
        net = network(self.auto, folder)
        for one in single(net):
            check_labels(with_two_outputs(one, self.labels).config, self.labels, folder, self.problem_type)
        return net

    def fresh(self) -> dict[str, Any]:
        return {"num_channels": self.reader.channels, "image_size": self.reader.height}

    def answers(self) -> dict[str, Any]:
        return fields_of(self.labels, SINGLE)

    def check_pair(self, teacher: Path, student: Path) -> None:
        check_pair(self.labels, teacher, student)

    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        seen, labels = each_seen(net, batch, needs, self.seen), batch.get("labels")
        return replace(judged(seen, labels), members=tuple(judged(one, labels) for one in seen.members))

    def seen(self, net: nn.Module, batch: Batch, needs: frozenset[str]) -> Observation:
        """What a network shows; no loss is taken."""
        config: Any = net.config
        wanted, dropouts = {"output_hidden_states": "hidden" in needs}, Dropouts()
        attends = "attentions" in needs and isinstance(getattr(config, "num_attention_heads", None), int)
        if attends:
            wanted["output_attentions"] = True
            if config._attn_implementation != "eager":
                net.set_attn_implementation("eager")  # type: ignore[operator]
        taken = arguments_of(net) - {"labels"}
        read: list[Tensor] = []
        handle = observed_embedding(self.head(net), read) if "embedding" in needs else None
        try:
            with dropouts if attends else nullcontext():
                seen = net(**{name: batch[name] for name in batch if name in taken}, **wanted, return_dict=True)
        finally:
            if handle is not None:
                handle.remove()
        return Observation(
            logits=seen.logits,
            hidden=tuple(flattened(states) for states in seen.hidden_states) if "hidden" in needs else (),
            attentions=tuple(map(dropouts.before, seen.attentions)) if attends else (),
            embedding=read[-1] if read else None,
        )

    def loss_of(self, logits: Tensor, seen: Observation, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels)

    def head(self, net: nn.Module) -> nn.Module:
        return head_of(net, len(self.labels))

    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        return "pixel_values", batch["pixel_values"]

    def turned(self, batch: Batch, quarters: int) -> Batch | None:
        """None for a quarter turn of pictures that are not square: a network may read one shape alone."""
        pixels = batch["pixel_values"]
        if quarters % 2 and pixels.shape[-1] != pixels.shape[-2]:
            return None
        return batch | {"pixel_values": pixels.rot90(quarters, (-2, -1))}

    def synthesizer(self, shape: Sequence[int], noise: int) -> nn.Module:
        return Generator(shape, noise)

    def denoiser(self, shape: Sequence[int]) -> nn.Module:
        return Denoiser(shape[0])

    def deployed(self, net: nn.Module) -> nn.Module:
        return Deployed(net)

    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
        """Standard normal pixels."""
        shape = (batch, self.reader.channels, self.reader.height, self.reader.width)
        return {"pixel_values": torch.randn(shape, generator=torch.Generator().manual_seed(0))}


class Deployed(nn.Module):
    """Positional pixels, a tuple with the logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixel_values: Tensor) -> tuple[Tensor]:
        return (self.net(pixel_values=pixel_values, return_dict=True).logits,)


def judged(seen: Observation, labels: Tensor | None) -> Observation:
    """With the task's loss, where there are labels."""
    assert seen.logits is not None, "a classifier gives logits"
    return seen if labels is None else replace(seen, loss=cross_entropy(seen.logits, labels))


def flattened(states: Tensor) -> Tensor:
    """Feature maps [B, D, H, W] as positions [B, H*W, D]; what is [B, L, D] already stays."""
    return states.flatten(2).transpose(1, 2) if states.dim() == 4 else states
