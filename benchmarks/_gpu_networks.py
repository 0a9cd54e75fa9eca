"""The networks that are timed: untrained, since latency depends on shapes and not on weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kd2deploy.core import Batch, Features, Observation, Port, Row, Scores, Task


@dataclass(frozen=True)
class Size:
    """One network: a transformers family with its configuration. `role` is teacher or student of `group`."""

    name: str
    group: str
    role: str
    family: str
    config: Mapping[str, Any]


def bert(layers: int, hidden: int, tiny: bool) -> dict[str, Any]:
    words = {"vocab_size": 64, "max_position_embeddings": 40} if tiny else {}
    heads = 4 if tiny else hidden // 64
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        **words,
    }


def vit(hidden: int, heads: int, tiny: bool) -> dict[str, Any]:
    small = {"num_hidden_layers": 2, "image_size": 32, "patch_size": 8} if tiny else {}
    return {"hidden_size": hidden, "num_attention_heads": heads, "intermediate_size": 4 * hidden, **small}


def resnet(layer_type: str, depths: Sequence[int], widths: Sequence[int]) -> dict[str, Any]:
    return {
        "layer_type": layer_type,
        "depths": list(depths),
        "hidden_sizes": list(widths),
        "embedding_size": min(64, widths[0]),
    }


def wav2vec2(layers: int, hidden: int, tiny: bool) -> dict[str, Any]:
    found = {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": max(2, hidden // 64),
        "intermediate_size": 4 * hidden,
    }
    if tiny:
        found |= {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    return found


def sizes(tiny: bool) -> list[Size]:
    """Teachers with their students, largest first."""
    if tiny:
        return [
            Size("bert-4x32", "text", "teacher", "bert", bert(4, 32, True)),
            Size("bert-1x16", "text", "student", "bert", bert(1, 16, True)),
            Size("resnet-2", "image-conv", "student", "resnet", resnet("basic", [1, 1], [8, 16])),
        ]
    return [
        Size("bert-base", "text", "teacher", "bert", bert(12, 768, False)),
        Size("bert-6x384", "text", "student", "bert", bert(6, 384, False)),
        Size("bert-4x256", "text", "student", "bert", bert(4, 256, False)),
        Size(
            "resnet-50", "image-conv", "teacher", "resnet", resnet("bottleneck", [3, 4, 6, 3], [256, 512, 1024, 2048])
        ),
        Size("resnet-18", "image-conv", "student", "resnet", resnet("basic", [2, 2, 2, 2], [64, 128, 256, 512])),
        Size("vit-base", "image", "teacher", "vit", vit(768, 12, False)),
        Size("vit-small", "image", "student", "vit", vit(384, 6, False)),
        Size("wav2vec2-base", "speech", "teacher", "wav2vec2", wav2vec2(12, 768, False)),
        Size("wav2vec2-half", "speech", "student", "wav2vec2", wav2vec2(6, 384, False)),
    ]


AUTO = {
    "bert": "AutoModelForSequenceClassification",
    "resnet": "AutoModelForImageClassification",
    "vit": "AutoModelForImageClassification",
    "wav2vec2": "AutoModelForCTC",
}


def save(size: Size, folder: Path) -> Path:
    """The network with seeded weights, as a user's folder is."""
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(size.family, **size.config)
    getattr(transformers, AUTO[size.family]).from_config(config).save_pretrained(folder)
    return folder


class Forward(nn.Module):
    def __init__(self, net: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.net, self.names = net, tuple(names)

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        return (self.net(**dict(zip(self.names, inputs, strict=True))).logits,)


class Timed(Task):
    """A network that is only exported and run: it has no data and no score."""

    name = "timed"

    def __init__(self, family: str, length: int, pixels: int, samples: int) -> None:
        self.family, self.length_, self.pixels, self.samples = family, length, pixels, samples
        self.auto, self.metric, self.binary = AUTO[family], "none", False
        ports = {
            "bert": tuple(Port(name, "int64", ("batch", length)) for name in ("input_ids", "attention_mask")),
            "wav2vec2": (Port("input_values", "float32", ("batch", samples)),),
        }
        self.inputs = ports.get(family, (Port("pixel_values", "float32", ("batch", 3, pixels, pixels)),))
        self.outputs = (Port("logits", "float32", ("batch", "classes")),)

    def spec(self) -> dict[str, Any]:
        sizes = {"length": self.length_, "pixels": self.pixels, "samples": self.samples}
        return {"use": "_gpu_networks.Timed", "family": self.family, **sizes}

    def at(self, folder: Path) -> "Timed":
        return self

    def load(self, folder: Path) -> nn.Module:
        import transformers

        net: nn.Module = getattr(transformers, self.auto).from_pretrained(folder)
        return net.eval()

    def deployed(self, net: nn.Module) -> nn.Module:
        return Forward(net, [port.name for port in self.inputs])

    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
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

    def agreement(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
        a, b = (side["logits"].reshape(len(side["logits"]), -1).astype(np.float64) for side in (one, other))
        cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
        return {"top1": float((a.argmax(1) == b.argmax(1)).mean()), "cosine": float(cosine.mean())}

    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        raise NotImplementedError("it is not trained")

    def head(self, net: nn.Module) -> nn.Module:
        raise NotImplementedError("it is not trained")

    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        raise NotImplementedError("it is not trained")

    def encode(self, rows: Sequence[Row], folder: Path) -> list[Features]:
        raise NotImplementedError("it has no data")

    def collate(self, features: Sequence[Features]) -> Batch:
        raise NotImplementedError("it has no data")

    def feed(self, features: Sequence[Features]) -> dict[str, Any]:
        raise NotImplementedError("it has no data")

    def length(self, features: Features) -> int:
        raise NotImplementedError("it has no data")

    def score(self, outputs: Mapping[str, Any], rows: Sequence[Row]) -> Scores:
        raise NotImplementedError("it has no data")

    def headline(self, truth: Any, predictions: Any) -> float:
        raise NotImplementedError("it has no data")

    def answer(self, outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        raise NotImplementedError("it has no data")

    def row(self, given: str, other: str | None = None) -> Row:
        raise NotImplementedError("it has no data")

    def snippet(self, file: str) -> str:
        raise NotImplementedError("it is not served")
