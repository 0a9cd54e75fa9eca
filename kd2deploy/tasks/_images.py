"""Pictures to pixels, as a folder's preprocessor_config.json says: the deterministic part of image processors.

Resizing and cropping work on bytes with Pillow, as the processors' own Pillow versions do; rescaling and normalising
are folded into one mean and one deviation per channel.
"""

import functools
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kd2deploy.core import Row
from kd2deploy.errors import DataError, ModelError
from kd2deploy.tasks._folder import read_config

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray[Any, Any]
FILE = "preprocessor_config.json"


@dataclass(frozen=True)
class Processor:
    """What is done to a picture. Sizes are (height, width) in pixels."""

    resize: tuple[int, int] | None
    """The size to stretch to; None where the shortest edge decides or nothing is resized."""
    shortest_edge: int | None
    """The length that the shorter side is resized to, the sides' ratio kept."""
    crop: tuple[int, int] | None
    """The size cut out of the centre, black where the picture is smaller."""
    resample: int
    """Pillow's number of the filter."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of the bytes, 0..255, per channel."""

    @property
    def out(self) -> tuple[int, int]:
        """(height, width) of every picture that comes out. Raises ModelError where it depends on the picture."""
        size = self.crop or self.resize
        if size is None:
            raise ModelError(f"{FILE} fixes no output size; give it size: {{height, width}} or a crop_size")
        return size

    def normalisation(self, channels: int) -> tuple[Array, Array]:
        """Mean and deviation as [C, 1, 1] float32; a single one serves every channel."""
        found = []
        for values in (self.mean, self.std):
            if len(values) not in (1, channels):
                raise ModelError(f"{FILE} has {len(values)} values per channel for a network of {channels} channels")
            found.append(np.resize(np.array(values, dtype=np.float32), channels).reshape(channels, 1, 1))
        return found[0], found[1]


@functools.lru_cache(maxsize=8)
def processor(folder: Path) -> Processor:
    """The processor stored in `folder`. Raises ModelError where there is none."""
    path = folder / FILE
    if not path.is_file():
        raise ModelError(f"{folder} has no {FILE}; save its image processor beside the model")
    return processor_of(json.loads(path.read_text(encoding="utf-8")))


def processor_of(config: Mapping[str, Any]) -> Processor:
    """Reads the fields that transformers' image processors share, and ConvNeXt's `crop_pct`."""
    size = sized(config.get("size")) if config.get("do_resize", True) else (None, None)
    crop = sized(config.get("crop_size"))[0] if config.get("do_center_crop") else None
    resize, shortest = size
    if config.get("crop_pct") and shortest is not None:
        side = shortest
        if side < 384:  # ConvNeXt: below 384 pixels the shorter side is resized to side / crop_pct, then cropped
            shortest, crop = int(side / config["crop_pct"]), (side, side)
        else:
            resize, shortest = (side, side), None
    scale = 1 / float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    normalise = config.get("do_normalize", True)
    mean = per_channel(config.get("image_mean", 0.0)) if normalise else (0.0,)
    std = per_channel(config.get("image_std", 1.0)) if normalise else (1.0,)
    return Processor(
        resize=resize,
        shortest_edge=shortest,
        crop=crop,
        resample=int(config.get("resample", 2)),
        mean=tuple(value * scale for value in mean),
        std=tuple(value * scale for value in std),
    )


def save_processor(folder: Path, channels: int, height: int, width: int) -> None:
    """Writes the plain processor of a network made from nothing: stretched to its size, bytes mapped to -1..1."""
    half = [0.5] * channels
    described = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": half,
        "image_std": half,
    }
    (folder / FILE).write_text(json.dumps(described, indent=2), encoding="utf-8")


def sized(size: Any) -> tuple[tuple[int, int] | None, int | None]:
    """((height, width), None), or (None, shortest edge), of the forms that `size` is written in."""
    if size is None:
        return None, None
    if isinstance(size, int):
        return (size, size), None
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return None, int(size["shortest_edge"])
    if isinstance(size, Mapping) and {"height", "width"} <= size.keys():
        return (int(size["height"]), int(size["width"])), None
    raise ModelError(f"{FILE} has size {size!r}; {{height, width}} or {{shortest_edge}} are understood")


def per_channel(value: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in value) if isinstance(value, list | tuple) else (float(value),)


def pixels(row: Row, reader: Processor, channels: int) -> Array:
    """A row's picture as bytes [C, H, W]. Raises DataError where it cannot be read."""
    picture = opened(row, channels)
    if reader.resize is not None:
        height, width = reader.resize
        if picture.size != (width, height):
            picture = picture.resize((width, height), reader.resample)
    elif reader.shortest_edge is not None:
        width, height = picture.size
        ratio = reader.shortest_edge / min(width, height)
        # int() as the processors do: the longer side is cut off, not rounded
        picture = picture.resize((max(1, int(width * ratio)), max(1, int(height * ratio))), reader.resample)
    if reader.crop is not None:
        height, width = reader.crop
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        picture = picture.crop((left, top, left + width, top + height))
    found = np.asarray(picture, dtype=np.uint8)
    return np.ascontiguousarray(found[None] if found.ndim == 2 else found.transpose(2, 0, 1))


def read_alike(one: Path, other: Path) -> bool:
    """Equal processing and channels; folders without a processor agree: what is read does not depend on them."""
    has = [(folder / FILE).is_file() for folder in (one, other)]
    if not all(has):
        return not any(has)
    channels = [read_config(folder).get("num_channels", 3) for folder in (one, other)]
    return processor(one.resolve()) == processor(other.resolve()) and channels[0] == channels[1]


def unreadable(value: Any) -> str:
    """Why a picture cannot be read, as far as its first bytes tell; empty where they do not say so."""
    if not isinstance(value, str | Path | bytes):
        return ""
    try:
        from PIL import Image

        with Image.open(io.BytesIO(value) if isinstance(value, bytes) else value) as picture:
            picture.verify()
    except ImportError:
        return "pictures are read with Pillow; pip install 'kd2deploy[vision]'"
    except (OSError, SyntaxError) as error:  # Pillow's word for a broken PNG is a SyntaxError
        return f"{'the encoded image' if isinstance(value, bytes) else value} is not a picture ({error})"
    return ""


def opened(row: Row, channels: int) -> "Image":
    """The row's picture, grey or RGB as the network's channels ask."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise DataError("pictures are read with Pillow; pip install 'kd2deploy[vision]'") from error

    found, place = row.get("image"), row.get("index", "?")
    if channels not in (1, 3):
        raise ModelError(f"a network of {channels} channels cannot read pictures; 1 (grey) or 3 (RGB) are supported")
    if isinstance(found, str | Path | bytes):
        title = "the encoded image" if isinstance(found, bytes) else found
        try:
            with Image.open(io.BytesIO(found) if isinstance(found, bytes) else found) as picture:
                picture.load()
                return picture.convert("L" if channels == 1 else "RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(f"row {place}: {title} is not a picture that can be read ({error})") from error
    if isinstance(found, np.ndarray):
        if (
            found.dtype != np.uint8
            or found.ndim not in (2, 3)
            or (found.ndim == 3 and found.shape[-1] not in (1, 3, 4))
        ):
            raise DataError(
                f"row {place}: an image array must be uint8 [H, W] or [H, W, C], got {found.dtype} {list(found.shape)}"
            )
        found = Image.fromarray(found[..., 0] if found.ndim == 3 and found.shape[-1] == 1 else found)
    if not isinstance(found, Image.Image):
        raise DataError(f"row {place}: image is {type(found).__name__}; give a picture, a uint8 array or a path")
    return found.convert("L" if channels == 1 else "RGB")
