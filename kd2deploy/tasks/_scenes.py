"""Rows of pictures with objects, read when they are asked for: as they stand, or augmented together with their boxes.

Features hold the pixels as bytes [C, H, W] with the mean and deviation that they are normalised by; `size` [2], width
and height of the picture, or of its part, in pixels before it was stretched; and `labels` [n, 5] float32: class, and
centre, width and height of the box as shares of the picture. Crowds are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from kd2deploy.core import Array, Draw, Drawing, Features, Row
from kd2deploy.core.port import UNKNOWN
from kd2deploy.networks.image_processor import Processor
from kd2deploy.tasks._images import opened, prepared
from kd2deploy.tasks._objects import objects_of, shares

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST_LEFT = 0.25
"""Share of an object's area that must be left of it where a part is cut out; else it is no object there. Ours."""
ATTEMPTS = 10


@dataclass(frozen=True)
class SceneAugment:
    """What is done to a picture and its boxes, in this order; each is off unless it is named."""

    crop: tuple[float, float] | None = None
    """A part with so much of each side, such as (0.6, 1), takes the place of the whole; some object stays in it."""
    flip: float = 0.0
    """Probability of left and right being exchanged."""
    light: float = 0.0
    """Brightness and contrast change by at most this share, each."""

    def __post_init__(self) -> None:
        least, most = self.crop or (1.0, 1.0)
        known = {
            "crop": (0 < least <= most <= 1, "is two shares of the sides, from above 0 to 1"),
            "flip": (0 <= self.flip <= 1, "is a probability, from 0 to 1"),
            "light": (0 <= self.light < 1, "is a share, from 0 to below 1"),
        }
        for name, (holds, rule) in known.items():
            if not holds:
                raise ValueError(f"{name} {rule}, got {getattr(self, name)!r}")
        if self.crop is None and not self.flip and not self.light:
            raise ValueError("names nothing that is done; name crop, flip or light")

    def applied(self, picture: "Image", objects: Array, draws: np.random.Generator) -> tuple["Image", Array]:
        """Both changed; objects [n, 5] are of the picture that comes out."""
        from PIL import ImageEnhance, ImageOps

        if self.crop is not None:
            picture, objects = cut(picture, objects, self.crop, draws)
        if self.flip and draws.random() < self.flip:
            picture, objects = ImageOps.mirror(picture), mirrored(objects)
        if self.light:
            for change in (ImageEnhance.Brightness, ImageEnhance.Contrast):
                picture = change(picture).enhance(draws.uniform(1 - self.light, 1 + self.light))
        return picture, objects


def mirrored(objects: Array) -> Array:
    found = objects.copy()
    found[:, 1] = 1 - found[:, 1]
    return found


def cut(
    picture: "Image", objects: Array, sides: tuple[float, float], draws: np.random.Generator
) -> tuple["Image", Array]:
    """A part of a picture, drawn again where no object is left in it; the whole one after `ATTEMPTS` draws."""
    width, height = picture.size
    for _ in range(ATTEMPTS):
        part = draws.uniform(*sides, 2)
        begin = draws.uniform(0, 1 - part)
        left, top = round(begin[0] * width), round(begin[1] * height)
        right, bottom = (
            max(left + 1, round((begin[0] + part[0]) * width)),
            max(top + 1, round((begin[1] + part[1]) * height)),
        )
        found = within(objects, left / width, top / height, right / width, bottom / height)
        if len(found) or not len(objects):
            return picture.crop((left, top, right, bottom)), found
    return picture, objects


def within(objects: Array, left: float, top: float, right: float, bottom: float) -> Array:
    """Objects [m, 5] of a part of a picture, given in shares of the whole."""
    origin, extent = np.array([left, top]), np.array([right - left, bottom - top])
    begins = (objects[:, 1:3] - objects[:, 3:] / 2 - origin) / extent
    ends = (objects[:, 1:3] + objects[:, 3:] / 2 - origin) / extent
    low, high = begins.clip(0, 1), ends.clip(0, 1)
    area = (ends - begins).prod(1)
    stays = (high - low).clip(0).prod(1) >= LEAST_LEFT * np.maximum(area, 1e-12)
    found = np.concatenate([objects[:, :1], (low + high) / 2, high - low], axis=1)
    return np.asarray(found[stays & ((high - low) > 0).all(1)], dtype=np.float32)


@final
class Scenes(Drawing):
    """Each as `reader` prepares it for a network of so many channels."""

    def __init__(self, rows: Sequence[Row], labels: tuple[str, ...], reader: Processor, channels: int) -> None:
        self.rows, self.labels, self.reader, self.channels = rows, labels, reader, channels
        self.mean, self.std = reader.normalisation(channels)

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, place: int) -> Features:
        return self.features(place, None)

    def drawn(self, place: int, augmentation: SceneAugment, draw: Draw) -> Features:
        return self.features(place, (augmentation, np.random.default_rng(draw)))

    def label(self, place: int) -> Any:
        return None

    def features(self, place: int, change: tuple[SceneAugment, np.random.Generator] | None) -> Features:
        row = self.rows[place]
        picture = opened(row, self.channels)
        objects = learnt(row, self.labels, picture.size)
        if change is not None:
            augmentation, draws = change
            unknown = len(objects) == 1 and objects[0, 0] == UNKNOWN
            picture, moved = augmentation.applied(picture, objects[:0] if unknown else objects, draws)
            objects = objects if unknown else moved
        return {
            "pixel_values": prepared(picture, self.reader, row),
            "mean": self.mean,
            "std": self.std,
            "labels": objects,
            "size": np.array(picture.size, dtype=np.float32),
            "index": int(row.get("index", place)),
        }


def learnt(row: Row, labels: tuple[str, ...], size: tuple[int, int]) -> Array:
    """[n, 5] float32 of a row's objects without its crowds; of a row without a label one of the class `UNKNOWN`."""
    found = objects_of(row, labels, size)
    if found is None:
        return np.array([[UNKNOWN, 0, 0, 0, 0]], dtype=np.float32)
    kept = ~found.crowd
    boxes = shares(found.boxes[kept], size)
    return np.concatenate([found.classes[kept, None].astype(np.float32), boxes], axis=1)
