"""Pictures to pixels: what a row holds, decoded and upright, resized and cropped as a processor says.

Resizing and cropping work on bytes with Pillow, as the image processors' own Pillow versions do; rescaling and
normalising are folded into one mean and one deviation per channel.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kd2deploy.core import Row
from kd2deploy.errors import DataError, ModelError
from kd2deploy.networks.image_processor import Array, Processor

if TYPE_CHECKING:
    from PIL.Image import Image

BROKEN = (
    *(OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error),
    *(IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError, RuntimeError),
)
"""What Pillow's readers raise at bytes that are no whole picture; a broken PNG is a SyntaxError to it."""
MODES = {1: "L", 3: "RGB"}
"""Pillow's mode for a network's channels."""
LONGEST_PATH = 200
"""Characters of a path in a message."""
ODD = ("I", "F", "LAB", "La", "RGBa")
"""Modes that are refused: 32 bits per pixel, and colours that no rule turns into RGB."""
GREY = frozenset({"1", "L", "LA"})
"""Pillow's modes without colours."""
IN_PNG = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
"""Modes that a PNG holds as they are."""
LARGEST = 2**28
"""Pixels that a picture may have once it is resized: a line of one pixel's width grows to more."""


Change = Callable[["Image"], "Image"]


def pixels(row: Row, reader: Processor, channels: int, change: Change | None = None) -> Array:
    """A row's picture as bytes [C, H, W], changed before it is prepared. Raises DataError where it cannot be read."""
    return prepared(opened(row, channels, change), reader, row)


def prepared(picture: "Image", reader: Processor, row: Row) -> Array:
    """An opened picture as bytes [C, H, W], as `reader` prepares it. Raises DataError that names `row`."""
    if reader.resize is not None:
        height, width = reader.resize
        if picture.size != (width, height):
            picture = picture.resize((width, height), reader.resample)
    elif reader.shortest_edge is not None:
        width, height = picture.size
        # the longer side is cut off, not rounded, and of exact numbers, as the processors do
        longer = int(reader.shortest_edge * max(width, height) / min(width, height))
        if longer * reader.shortest_edge > LARGEST:
            raise DataError(
                f"row {row.get('index', '?')}: a picture of {width} x {height} pixels is too long to resize"
            )
        size = (reader.shortest_edge, longer) if width <= height else (longer, reader.shortest_edge)
        picture = picture.resize(size, reader.resample)
    if reader.crop is not None:
        height, width = reader.crop
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        picture = picture.crop((left, top, left + width, top + height))
    found = np.asarray(picture, dtype=np.uint8)
    found = found[None] if found.ndim == 2 else found.transpose(2, 0, 1)
    return np.ascontiguousarray(found[::-1] if reader.flip else found)


def uncropped(picture: Array, reader: Processor) -> Array:
    """A picture [H, W, C] of the size that comes out, with its border repeated around it: `pixels` gives it back where
    a processor crops what it has resized."""
    before = reader.resize or ((reader.shortest_edge,) * 2 if reader.shortest_edge is not None else None)
    if reader.crop is None or before is None:
        return np.ascontiguousarray(picture)
    margins = [max(0, whole - part) for whole, part in zip(before, reader.crop, strict=True)]
    return np.pad(picture, [(one // 2, one - one // 2) for one in margins] + [(0, 0)], mode="edge")


def opened(row: Row, channels: int, change: Change | None = None) -> "Image":
    """The row's picture, upright, grey or RGB as the network's channels ask.

    It is changed before, grey or RGB as it was stored, so that networks of one and of three channels see the same.
    """
    if channels not in MODES:
        raise ModelError(f"a network of {channels} channels cannot read pictures; 1 (grey) or 3 (RGB) are supported")
    try:
        with warnings.catch_warnings(action="ignore"):  # of a palette's transparency, which is dropped
            picture = decoded(row.get("image"))
            if change is not None:
                picture = change(picture.convert("L" if picture.mode in GREY else "RGB"))
            return picture.convert(MODES[channels])
    except DataError as error:
        raise DataError(f"row {row.get('index', '?')}: {error}") from None


def filed(value: Any, place: Path) -> Path:
    """The file that a picture lies in; what has none is written to `place`, with the ending that fits.

    Raises DataError where it cannot be read.
    """
    if isinstance(value, str | Path):
        return Path(value)
    if isinstance(value, bytes):
        place.write_bytes(value)  # Pillow knows it by its first bytes
        return place
    picture, to = decoded(value), place.with_suffix(".png")
    (picture if picture.mode in IN_PNG else picture.convert("RGB")).save(to)
    return to


def unreadable(value: Any) -> str:
    """Why a picture cannot be read; empty for one that can. Every byte is looked at, JPEG at an eighth of its size."""
    try:
        decoded(value, small=True)
    except DataError as error:
        return str(error)
    return ""


def decoded(value: Any, small: bool = False) -> "Image":
    """A file, its bytes, an array or a Pillow picture with 8 bits per channel, turned as its orientation tag says.

    Raises DataError with what is wrong. `small` spares time where only that is asked.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise DataError("pictures are read with Pillow; pip install 'kd2deploy[vision]'") from error

    if isinstance(value, np.ndarray):
        value = from_array(value)
    if isinstance(value, Image.Image):
        return eight_bits(ImageOps.exif_transpose(value), "the picture")
    if not isinstance(value, str | Path | bytes):
        raise DataError(f"image is {type(value).__name__}; give a picture, a uint8 array or a path")
    title = "the encoded image" if isinstance(value, bytes) else shown(str(value))
    source = io.BytesIO(value) if isinstance(value, bytes) else value
    try:
        if not isinstance(value, bytes) and not Path(value).is_file():
            raise DataError(f"{title} is no file that can be read")
        # Pillow warns of much that is read well all the same; what is not is raised
        with warnings.catch_warnings(action="ignore"), Image.open(source) as picture:
            if small:
                picture.draft("L", (max(1, picture.width // 8), max(1, picture.height // 8)))
            picture.load()
            return eight_bits(ImageOps.exif_transpose(picture), title)
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise DataError(f"{title} is not a picture that can be read ({shown(str(error))})") from error


def shown(path: str) -> str:
    """What names a file, in a message: its end, where a text of thousands of characters stands in a file's place."""
    return path if len(path) <= LONGEST_PATH else f"...{path[-LONGEST_PATH:]}"


def from_array(array: Array) -> "Image":
    """A picture of [H, W] or [H, W, C]. Raises DataError for another shape or type."""
    from PIL import Image

    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4))
        or 0 in array.shape
    ):
        raise DataError(f"an image array must be uint8 [H, W] or [H, W, C], got {array.dtype} {list(array.shape)}")
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array)


def eight_bits(picture: "Image", title: str) -> "Image":
    """Greys of 16 bits by their upper byte, as Pillow reads colours of 16 bits; it would cut greys off at 255.

    Raises DataError for pixels of 32 bits, whose range nothing says, and for colours that no rule turns into RGB.
    """
    from PIL import Image

    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode not in ODD:
        return picture
    if picture.mode in ("I", "F"):
        raise DataError(f"{title} holds 32 bits per pixel, whose range is not known; save it with 8 or 16 bits")
    raise DataError(f"{title} holds colours as {picture.mode}; save it as RGB")
