"""How pictures to restore become a network's inputs: whole, of any size, bytes divided by 255.

What a folder's preprocessor_config.json may say is checked and else passed over: networks of any size need no resizing,
and padding to a multiple of a window is part of the deployed graph.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kd2deploy.core import Array, Features, Reader, Row, SizeUnit
from kd2deploy.core.reading import object_of
from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.image_processor import FILE
from kd2deploy.tasks._degrading import Degradation, enlarged
from kd2deploy.tasks._images import filed
from kd2deploy.tasks._patches import Patches, PictureRows
from kd2deploy.tasks._picture_pairs import LEAST_SIDE, flaw_of, is_made

if TYPE_CHECKING:
    from kd2deploy.core import Batch

MEGAPIXEL = SizeUnit("megapixel of input", "megapixels of input", 3e6)
LEAST_INPUT = 4
"""Pixels of an input's shorter side: a clean picture's, eight times smaller."""
NOT_DONE = ("do_normalize", "do_resize", "do_center_crop")
"""Steps of a processor that change pictures otherwise than networks of this task are fed."""


class RestorationReader(Reader):
    """Inputs [3, h, w] in 0..1, and targets `scale` times as large."""

    counted_in: ClassVar[str] = "values"
    named: ClassVar[tuple[str, ...]] = ("image", "label")
    augments: ClassVar[type] = Patches
    drawn_always: ClassVar[bool] = True
    scored_alone: ClassVar[bool] = True

    def __init__(self, degradation: Degradation) -> None:
        self.degradation = degradation

    @classmethod
    def fields(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        return ("image",)

    @classmethod
    def flaw(cls, value: Any) -> str:
        return flaw_of(value, LEAST_INPUT)

    @classmethod
    def target_flaw(cls, label: Any) -> str:
        return flaw_of(label, LEAST_SIDE)

    # rows ---------------------------------------------------------------------------------------------------

    def row(self, given: str, other: str | None = None) -> Row:
        return {"image": given, "label": None}

    def encode(self, rows: Sequence[Row], folder: Path) -> PictureRows:
        return PictureRows(rows, self.degradation)

    def length(self, features: Features) -> int:
        return int(features["pixel_values"].size)

    def size_unit(self, folder: Path) -> SizeUnit:
        return MEGAPIXEL

    def floors(self, asked: Sequence[Row], folder: Path) -> dict[str, Mapping[str, Array]]:
        """What is had without a network: bicubic interpolation, or the picture as it is."""
        name = "bicubic interpolation" if self.degradation.scale > 1 else "the picture as it is, not restored"
        read = self.encode(asked, folder)
        found = np.empty(len(read), dtype=object)
        for place, one in enumerate(read):
            picture = enlarged(one["pixel_values"].transpose(1, 2, 0), self.degradation.scale)
            found[place] = picture.transpose(2, 0, 1)
        return {name: {"reconstruction": found}}

    # batches ------------------------------------------------------------------------------------------------

    def collate(self, features: Sequence[Features]) -> Batch:
        """Targets of rows without one are not a number."""
        import torch

        inputs = stacked([row["pixel_values"] for row in features])
        side = [size * self.degradation.scale for size in inputs.shape[-2:]]
        unknown = np.full((3, *side), np.nan, dtype=np.float32)
        targets = [padded(scaled(row["labels"]), *side) if "labels" in row else unknown for row in features]
        return {
            "pixel_values": torch.from_numpy(inputs),
            "labels": torch.from_numpy(np.stack(targets)),
            "index": torch.tensor([row["index"] for row in features], dtype=torch.int64),
        }

    def feed(self, features: Sequence[Features]) -> dict[str, Array]:
        return {"pixel_values": stacked([row["pixel_values"] for row in features])}

    # requests -----------------------------------------------------------------------------------------------

    def sent(self, row: Row, place: Path) -> Row:
        """The degraded picture: where it is made of the clean one, as a file of its own."""
        image = row.get("image")
        if is_made(row):
            (read,) = self.encode([row], place.parent)
            image = read["pixel_values"].transpose(1, 2, 0)
        return {"image": filed(image, place), "label": None}

    # what lies in a network's folder ------------------------------------------------------------------------

    def check_inputs(self, folder: Path) -> None:
        if (folder / FILE).is_file():
            check_processor(folder / FILE)

    def write_inputs(self, folder: Path) -> None:
        if not (folder / FILE).is_file():
            write_processor(folder)

    def write_as_judged(self, folder: Path) -> None:
        write_processor(folder)


def scaled(picture: Array) -> Array:
    """Bytes as float32 in 0..1."""
    return np.asarray(picture, dtype=np.float32) / np.float32(255)


def padded(picture: Array, height: int, width: int) -> Array:
    """[3, H, W] of [3, h, w]: filled up at the bottom and the right with what stands at the edge."""
    low, wide = height - picture.shape[-2], width - picture.shape[-1]
    return picture if low == wide == 0 else np.pad(picture, ((0, 0), (0, low), (0, wide)), mode="edge")


def stacked(pictures: Sequence[Array]) -> Array:
    """[B, 3, H, W] float32 in 0..1 of pictures [3, h, w] of any sizes, as bytes."""
    height, width = (max(one.shape[axis] for one in pictures) for axis in (-2, -1))
    return np.stack([scaled(padded(one, height, width)) for one in pictures])


def check_processor(path: Path) -> None:
    """Raises ModelError where a file has pictures prepared otherwise than by dividing bytes by 255."""
    said = object_of(path, ModelError, "save the image processor anew")
    wrong = [name for name in NOT_DONE if said.get(name) is True]
    factor = said.get("rescale_factor", 1 / 255)
    if wrong:
        raise ModelError(f"{path} sets {wrong[0]}, and pictures to restore are divided by 255 and nothing else")
    if (
        said.get("do_rescale") is False
        or not isinstance(factor, int | float)
        or not math.isclose(factor, 1 / 255, rel_tol=1e-3)
    ):
        raise ModelError(f"{path} does not divide bytes by 255, as networks of this task are fed; use another network")


def write_processor(folder: Path) -> None:
    """Say how pictures are read, in the words of transformers' processor for such networks.

    Those of windows are padded by it where transformers runs them; the deployed graph pads by itself.
    """
    window = read_config(folder).get("window_size")
    described = {
        "image_processor_type": "Swin2SRImageProcessor",
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_pad": window is not None,
        **({"size_divisor": window} if window is not None else {}),
    }
    (folder / FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
