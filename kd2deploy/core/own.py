"""Architectures of this program's own, by the `model_type` that their folders name: a closed set, as data names it.

    {"model_type": "kd2deploy_static", "vocab_size": 30522, "dim": 256, ...}
    {"model_type": "kd2deploy_thin_resnet", "widths": [16, 32, 64], "depths": [9, 9, 9], ...}
    {"model_type": "kd2deploy_restorer", "channels": 32, "blocks": 6, "upscale": 2, ...}

A folder of one is like any other network's: configuration, safetensors, tokenizer. `networks/own.py` holds the code.
"""

from pathlib import Path

from kd2deploy.core.reading import object_of
from kd2deploy.errors import ModelError

STATIC = "kd2deploy_static"
"""One table of word vectors, their mean over a text, and a small head."""
THIN_RESNET = "kd2deploy_thin_resnet"
"""A residual network for small pictures: a stem without strides, and three stages."""
RESTORER = "kd2deploy_restorer"
"""Residual convolutions at the size of a picture, enlarged at their end."""


def architecture_of(folder: Path) -> str:
    """The `model_type` of the network in a folder; empty where there is none. Raises ModelError for a configuration
    that is none."""
    config = folder / "config.json"
    found = object_of(config, ModelError, "save the model anew") if config.is_file() else {}
    return str(found.get("model_type", ""))


def is_static(folder: Path) -> bool:
    """Whether the network in a folder is of static embeddings. Raises ModelError as `architecture_of` does."""
    return architecture_of(folder) == STATIC
