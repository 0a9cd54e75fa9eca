"""Photos as rows of pictures to restore: tiles to train on, and one middle part of each photo to be judged by."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

NO_PILLOW = "pictures are read with Pillow; pip install 'kd2deploy[vision]'"
Row = dict[str, Any]
Array = np.ndarray[Any, Any]


def tiles(photos: Iterable[Array], side: int) -> list[Row]:
    """All whole tiles of photos [H, W, 3], row by row; what is left over at the right and the bottom is not used."""
    return [row_of(tile) for photo in photos for tile in tiles_of(photo, side)]


def tiles_of(photo: Array, side: int) -> Iterator[Array]:
    height, width = photo.shape[:2]
    for top in range(0, height - side + 1, side):
        for left in range(0, width - side + 1, side):
            yield photo[top : top + side, left : left + side]


def middles(photos: Iterable[Array], height: int, width: int) -> list[Row]:
    """The middle of each photo, as large as it is at most."""
    return [row_of(middle_of(photo, height, width)) for photo in photos]


def middle_of(photo: Array, height: int, width: int) -> Array:
    top, left = (max(0, (size - part) // 2) for size, part in zip(photo.shape[:2], (height, width), strict=True))
    return photo[top : top + height, left : left + width]


def row_of(picture: Array) -> Row:
    """A picture whose input is made of itself."""
    own = np.ascontiguousarray(picture)
    return {"image": own, "label": own}
