"""Scenes made of photos and of cut-out pictures pasted on them, with exact boxes: seeded, in any amount."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kd2deploy.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Row = dict[str, Any]
Array = np.ndarray[Any, Any]
Cut = Callable[[np.random.Generator], "Image"]
"""A cut-out picture (RGBA), perhaps another one each time."""
OPAQUE = 64
"""Of 255: from so much on a pixel belongs to an object."""
LARGEST_COVER = 0.2
"""Share of a pasted object's box that another may cover."""
ATTEMPTS = 20
SIDES = (0.22, 0.6)
"""Of the scene's side: the longer side of what is pasted."""
NO_PILLOW = "pictures are read with Pillow; pip install 'kd2deploy[detection]'"


def scenes(
    photos: Sequence[Array], cuts: Mapping[str, Sequence[Cut]], count: int, side: int, most: int, seed: int
) -> list[Row]:
    """`count` rows: a square part of a photo [H, W, 3], and 0 to `most` objects of classes drawn evenly.

    An object lies whole in its scene. One of ten scenes has none.
    """
    draws = np.random.default_rng(seed)
    return [scene(photos, cuts, side, most, draws) for _ in range(count)]


def scene(
    photos: Sequence[Array], cuts: Mapping[str, Sequence[Cut]], side: int, most: int, draws: np.random.Generator
) -> Row:
    from PIL import Image

    ground = Image.fromarray(part_of(photos[int(draws.integers(len(photos)))], draws)).resize((side, side))
    wanted = 0 if draws.random() < 0.1 else int(draws.integers(1, most + 1))
    label: list[dict[str, Any]] = []
    for _ in range(ATTEMPTS):
        if len(label) == wanted:
            break
        name = list(cuts)[int(draws.integers(len(cuts)))]
        object_ = whole(cuts[name][int(draws.integers(len(cuts[name])))](draws))
        times = draws.uniform(*SIDES) * side / max(object_.size)
        object_ = object_.resize([max(4, round(length * times)) for length in object_.size])
        if draws.random() < 0.5:
            object_ = object_.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        left, top = (int(draws.integers(0, side - length + 1)) for length in object_.size)
        solid = solid_box(object_)
        if solid is None:
            continue
        box = [left + solid[0], top + solid[1], solid[2] - solid[0], solid[3] - solid[1]]
        if any(covered(one["box"], box) > LARGEST_COVER for one in label):
            continue
        ground.paste(object_, (left, top), object_)
        label.append({"category": name, "box": [float(value) for value in box]})
    return {"image": np.asarray(ground, dtype=np.uint8), "label": label}


def part_of(photo: Array, draws: np.random.Generator) -> Array:
    """A square of half to all of a photo's shorter side."""
    height, width = photo.shape[:2]
    side = int(draws.uniform(0.5, 1) * min(height, width))
    top, left = draws.integers(0, height - side + 1), draws.integers(0, width - side + 1)
    return np.ascontiguousarray(photo[top : top + side, left : left + side])


def whole(cut: "Image") -> "Image":
    """Without what is transparent around it."""
    box = solid_box(cut)
    return cut if box is None else cut.crop(box)


def solid_box(cut: "Image") -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of what is opaque; None where nothing is."""
    alpha = np.asarray(cut.getchannel("A")) >= OPAQUE
    if not alpha.any():
        return None
    across, down = np.flatnonzero(alpha.any(0)), np.flatnonzero(alpha.any(1))
    return int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1


def covered(one: Sequence[float], other: Sequence[float]) -> float:
    """The larger share of two boxes that the other covers."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    return both / max(1.0, min(one[2] * one[3], other[2] * other[3]))


def check(side: int, most: int, counts: Mapping[str, int]) -> None:
    if not 32 <= side <= 1024 or not 1 <= most <= 10:
        raise DataError("side is 32 to 1024 pixels, and most 1 to 10 objects")
    few = [name for name, count in counts.items() if count < 2]
    if few:
        raise DataError(f"{few[0]} must be 2 scenes or more")
