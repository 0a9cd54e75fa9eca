"""Fashion-MNIST: 60,000 and 10,000 grey pictures of clothes, 28 x 28, as Debian's dataset-fashion-mnist installs them.

Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
2017, arXiv:1708.07747.
"""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def fashion_mnist(folder: str = "/usr/share/datasets/fashion-mnist") -> Tables:
    """The official train and test splits out of the four gzipped IDX files in `folder`. Raises DataError."""
    place = Path(folder)
    return Tables(
        train=rows(place, "train"),
        eval=rows(place, "t10k"),
        labels=LABELS,
        about="Fashion-MNIST (official split)",
        names={"train": "Fashion-MNIST train", "eval": "Fashion-MNIST test"},
    )


def rows(folder: Path, split: str) -> list[dict[str, Any]]:
    images = idx(folder / f"{split}-images-idx3-ubyte.gz")
    labels = idx(folder / f"{split}-labels-idx1-ubyte.gz")
    if len(images) != len(labels):
        raise DataError(f"{folder} has {len(images)} {split} pictures and {len(labels)} labels; install it again")
    return [{"image": image, "label": int(label)} for image, label in zip(images, labels, strict=True)]


def idx(path: Path) -> "np.ndarray[Any, Any]":
    """An IDX file of bytes: two zeros, type 8, the number of axes, their lengths (big-endian), the values."""
    if not path.is_file():
        raise DataError(
            f"{path} does not exist; `apt-get install dataset-fashion-mnist` brings it (or `apt-get download` it and "
            "unpack with `dpkg -x`, then name the folder: `data: {use: fashion_mnist, folder: ...}`)"
        )
    try:
        with gzip.open(path) as stream:
            content = stream.read()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}); install it again") from error
    axes = content[3] if len(content) > 3 and content[:3] == b"\x00\x00\x08" else 0
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes]) if axes else ()
    if not axes or len(content) != 4 + 4 * axes + int(np.prod(shape)):
        raise DataError(f"{path} is not an IDX file of bytes; install it again")
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)
