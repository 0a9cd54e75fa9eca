"""A row of pictures to restore: its input, and the clean picture that is its target.

The input stands under `image` and the target under `label`. Where both are one picture, the input is made of it.
"""

import filecmp
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kd2deploy.core import Array, Row
from kd2deploy.errors import DataError
from kd2deploy.tasks._degrading import Degradation, Part
from kd2deploy.tasks._images import decoded

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST_SIDE = 32
"""Pixels of a clean picture's shorter side: structural similarity looks at windows of 11, inside of the border that is
left out. Ours."""
ALPHA = frozenset({"RGBA", "LA", "PA"})
OPAQUE = 255
ORIENTATION = 0x0112
"""EXIF's tag of how a picture is shown."""
ON_THEIR_SIDE = range(5, 9)
"""Its values for pictures that are stored on their side."""


def is_made(row: Row) -> bool:
    """Whether a row's input is made of its target, because both are one picture: one file, or a copy of it, as packs
    hold each field's own."""
    image, label = row.get("image"), row.get("label")
    if isinstance(image, np.ndarray) and isinstance(label, np.ndarray):
        return image is label or (image.shape == label.shape and bool(np.array_equal(image, label)))
    if isinstance(image, str | Path) and isinstance(label, str | Path):
        return Path(image) == Path(label) or same_bytes(Path(image), Path(label))
    return label is not None and type(image) is type(label) and bool(image == label)


def same_bytes(one: Path, other: Path) -> bool:
    """Whether two files hold the same; files of other sizes are not read."""
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def colours(value: Any, title: str = "") -> "Image":
    """A picture as RGB, upright; grey ones in three equal channels. Raises DataError for what cannot be read, for one
    that is seen through in places, and for one too small."""
    picture = decoded(value)
    named = title or (str(value) if isinstance(value, str | Path) else "the picture")
    if seen_through(picture):
        raise DataError(f"{named} is transparent in places, and what lies behind is not known; lay it on a background")
    return picture.convert("RGB")


def seen_through(picture: "Image") -> bool:
    """Whether any pixel of a picture is not opaque."""
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if picture.mode not in ALPHA:
        return False
    least: Any = picture.getchannel("A").getextrema()
    return bool(least[0] < OPAQUE)


def flaw_of(value: Any, least_side: int = 1) -> str:
    """Why a picture cannot be restored from or to; empty for one that can."""
    if isinstance(value, str | Path) and Path(value).is_file():
        about = Path(value).stat()
        flaw, (width, height) = looked_at(str(value), (about.st_mtime_ns, about.st_size))
    else:
        flaw, (width, height) = seen_in(value)
    if flaw or min(width, height) >= least_side:
        return flaw
    return f"{width} x {height} pixels are too few: the shorter side needs {least_side}"


@lru_cache(maxsize=2**16)
def looked_at(file: str, stamp: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    """`seen_in` of a file, which is often input and target of its row; `stamp` tells one that was changed."""
    return seen_in(file)


def seen_in(value: Any) -> tuple[str, tuple[int, int]]:
    """What is wrong with a picture, and its size where nothing is."""
    try:
        return "", colours(value).size
    except DataError as error:
        return str(error), (0, 0)


def size_of(value: Any) -> tuple[int, int]:
    """(width, height) of an upright picture, off its file's header where that is enough."""
    if isinstance(value, np.ndarray):
        return value.shape[1], value.shape[0]
    if not isinstance(value, str | Path):
        return decoded(value).size
    from PIL import Image

    try:
        with Image.open(value) as picture:
            turned = picture.getexif().get(ORIENTATION, 1) in ON_THEIR_SIDE
            return (picture.height, picture.width) if turned else picture.size
    except OSError:
        return decoded(value).size  # which says what is wrong


def check_pair(row: Row, degradation: Degradation) -> None:
    """Raises DataError for a row whose input and target do not belong together, by their sizes."""
    where = f"row {row.get('index', '?')}"
    if row.get("label") is None:
        return
    if is_made(row):
        if degradation.none:
            raise DataError(
                f"{where}: input and target are one picture and nothing is done to it; set `scale` or `noise` of the "
                "task, or name the folder of the inputs"
            )
        return
    times = degradation.scale
    (width, height), (wide, high) = size_of(row["image"]), size_of(row["label"])
    if (wide // times, high // times) != (width, height):
        raise DataError(
            f"{where}: the input has {width} x {height} pixels and its target {wide} x {high}, which is not {times} "
            "times as many a side; set `scale` of the task, or pair other files"
        )


def target_of(row: Row, degradation: Degradation) -> "Image":
    """The clean picture, cropped at the right and the bottom to a multiple of the scale. Raises DataError."""
    if row.get("label") is None:
        raise DataError(f"row {row.get('index', '?')} has no target to be compared with; give it a clean picture")
    clean, times = opened(row, "label"), degradation.scale
    return clean.crop((0, 0, clean.width // times * times, clean.height // times * times))


def opened(row: Mapping[str, Any], field: str) -> "Image":
    try:
        return colours(row[field])
    except DataError as error:
        raise DataError(f"row {row.get('index', '?')}: {error}") from None


def input_of(row: Row, degradation: Degradation, draws: np.random.Generator, part: Part | None = None) -> Array:
    """[h, w, 3] uint8: what the network reads of a row, or a part of that. Raises DataError."""
    given = opened(row, "image")
    if is_made(row):
        return degradation.applied(given, part or degradation.whole(given), draws)
    if part is not None:
        given = given.crop((part.left, part.top, part.left + part.width, part.top + part.height))
    return np.asarray(given, dtype=np.uint8)
