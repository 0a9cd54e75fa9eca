"""The networks that are timed: untrained, since latency depends on shapes and not on weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers


@dataclass(frozen=True)
class Size:
    """One network: a transformers architecture with its configuration; `group` is a teacher with its students."""

    name: str
    group: str
    role: str
    """teacher or student of its group."""
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
    found: dict[str, Any] = {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": max(2, hidden // 64),
        "intermediate_size": 4 * hidden,
    }
    if tiny:
        found |= {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    return found


def sizes(tiny: bool) -> list[Size]:
    """Teachers with their students: the order in which they are measured."""
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
        Size("vit-base", "image", "teacher", "vit", vit(768, 12, False)),
        Size("vit-small", "image", "student", "vit", vit(384, 6, False)),
        Size(
            "resnet-50", "image-conv", "teacher", "resnet", resnet("bottleneck", [3, 4, 6, 3], [256, 512, 1024, 2048])
        ),
        Size("resnet-18", "image-conv", "student", "resnet", resnet("basic", [2, 2, 2, 2], [64, 128, 256, 512])),
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
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(size.family, **size.config)
    getattr(transformers, AUTO[size.family]).from_config(config).save_pretrained(folder)
    return folder
