"""What converters, sessions and engines ask of a task, for a network that is untrained and has no data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers
from _gpu_networks import AUTO
from torch import Tensor, nn

from kd2deploy.core import Metric, Port, Task, TaskNetworks
from kd2deploy.core.trust import trust


class Forward(nn.Module):
    """Positional tensors in, the logits alone out."""

    def __init__(self, net: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.net, self.names = net, tuple(names)

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        return (self.net(**dict(zip(self.names, inputs, strict=True))).logits,)


class Untrained(Task):
    """As much of a task, its networks and its metric as needs neither data nor a score; every axis but the batch is
    fixed."""

    name = "untrained"

    def __init__(self, family: str, length: int, pixels: int, samples: int) -> None:
        self.auto = AUTO[family]
        self.given = {"family": family, "length": length, "pixels": pixels, "samples": samples}
        ports = {
            "bert": tuple(Port(name, "int64", ("batch", length)) for name in ("input_ids", "attention_mask")),
            "wav2vec2": (Port("input_values", "float32", ("batch", samples)),),
        }
        self.inputs = ports.get(family, (Port("pixel_values", "float32", ("batch", 3, pixels, pixels)),))
        self.outputs = (Port("logits", "float32", ("batch", "classes")),)
        self.metric = cast(Metric, self)

    @property
    def networks(self) -> TaskNetworks:
        return cast(TaskNetworks, self)

    def at(self, folder: Path) -> Task:
        return self

    def snippet(self, opening: str, folder: Path) -> str:
        raise NotImplementedError("nothing that is untrained is served")

    def spec(self) -> dict[str, Any]:
        return {"use": f"{__name__}.{type(self).__name__}", **self.given}

    def load(self, folder: Path) -> nn.Module:
        net: nn.Module = getattr(transformers, self.auto).from_pretrained(folder)
        return net.eval()

    def deployed(self, net: nn.Module) -> nn.Module:
        return Forward(net, [port.name for port in self.inputs])

    def example(self, net: nn.Module | None, batch: int, **sizes: int) -> dict[str, Tensor]:
        """Seeded words, pixels or sound; nothing is padded."""
        drawn, found = torch.Generator().manual_seed(0), {}
        for port in self.inputs:
            shape = (batch, *(int(axis) for axis in port.axes[1:]))
            if port.name == "input_ids":
                found[port.name] = torch.randint(1, 64, shape, generator=drawn)
            elif port.name == "attention_mask":
                found[port.name] = torch.ones(shape, dtype=torch.int64)
            else:
                found[port.name] = torch.randn(shape, generator=drawn)
        return found

    def alike(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
        a, b = (side["logits"].reshape(len(side["logits"]), -1).astype(np.float64) for side in (one, other))
        cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
        return {"top1": float((a.argmax(1) == b.argmax(1)).mean()), "cosine": float(cosine.mean())}


trust(f"{__name__}.{Untrained.__name__}")  # in each part's process: a session of PyTorch builds its task anew
