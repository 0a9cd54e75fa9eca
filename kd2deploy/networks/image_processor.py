"""A folder's preprocessor_config.json, read as the image processor that transformers would make of it reads pictures.

What the file sets and is not done here is refused by name: a network that reads other pixels than it was trained on
loses points without a word.
"""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.errors import ModelError
from kd2deploy.networks._processor_classes import COMMON, HAMMING, KINDS, OF_MODELS, Kind
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.inputs import inputs_of

Array = np.ndarray[Any, Any]
FILE = "preprocessor_config.json"
LONGEST_SIDE = 8192
"""Pixels; more is taken for a mistake. Ours."""
PLAIN_BELOW = 384
"""ConvNeXt's: from so many pixels on a picture is stretched to its square, and not cropped."""
LEVIT_MARGIN = 256 / 224
"""LeViT resizes to so many times the size that it crops."""
NO_MATTER = frozenset({"do_convert_rgb", "do_reduce_labels", "reduce_labels", "size", "default_to_square"})
"""Fields that may be true: pictures are always turned to RGB or grey, and label maps are not classified."""
NEVER = frozenset({"pad_size"})
"""Fields that change what comes out wherever they are set."""
Size = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True)
class Processor:
    """What is done to a picture, in this order."""

    resize: Size | None
    """The size to stretch to; None where the shortest edge decides or nothing is resized."""
    shortest_edge: int | None
    """The length that the shorter side is resized to, the sides' ratio kept."""
    crop: Size | None
    """The size cut out of the centre, black where the picture is smaller."""
    resample: int
    """Pillow's number of the filter."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of the bytes, 0..255, per channel."""
    flip: bool = False
    """Whether the network reads blue, green, red."""

    @property
    def out(self) -> Size:
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
    """The processor stored in `folder`. Raises ModelError where there is none, or where it is not understood."""
    path = inputs_of(folder) / FILE
    if not path.is_file():
        raise ModelError(f"{folder} has no {FILE}; save its image processor beside the model")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not readable JSON ({error}); save the image processor anew") from None
    if not isinstance(said, dict):
        raise ModelError(f"{path} is no JSON object; save the image processor anew with save_pretrained")
    try:
        return processor_of(said, str(read_config(folder)["model_type"]))
    except ModelError as error:
        raise ModelError(f"{path.parent}: {error}") from None


def processor_of(config: Mapping[str, Any], model_type: str = "") -> Processor:
    """What a file says, its class filling in the rest. Raises ModelError for what is not understood."""
    name = class_of(config, model_type)
    kind = KINDS[name]
    said = {**kind.defaults, **{key: value for key, value in config.items() if value is not None}}
    refuse_unknown(config, name, kind)
    resize, shortest, crop = sizes(said, name, kind)
    mean, std = normalisation_of(said)
    return Processor(
        resize=resize,
        shortest_edge=shortest,
        crop=crop,
        resample=whole(said["resample"], "resample", HAMMING, least=0),
        mean=mean,
        std=std,
        flip=flag(said, "do_flip_channel_order"),
    )


def class_of(config: Mapping[str, Any], model_type: str) -> str:
    """The class that reads the file: the one it names, by any of the names it had, or else the model type's own."""
    named = config.get("image_processor_type") or config.get("feature_extractor_type")
    name = str(named or OF_MODELS.get(model_type, "")).removesuffix("Pil").removesuffix("Fast")
    name = name.removesuffix("ImageProcessor").removesuffix("FeatureExtractor") + "ImageProcessor"
    if name not in KINDS:
        about = f"names {named!r}, which is" if named else f"names no image_processor_type, and {model_type!r} has"
        raise ModelError(
            f"{FILE} {about} none of the image processors that are supported: {', '.join(KINDS)}; describe the same "
            "steps as one of these"
        )
    return name


def refuse_unknown(config: Mapping[str, Any], name: str, kind: Kind) -> None:
    """Raises ModelError for a field that is on and that nothing here does."""
    own = kind.defaults.keys() - kind.ignores
    special = frozenset().union(*(one.differs for one in KINDS.values())) - COMMON.keys()
    for key, value in config.items():
        idle = key in own or key in NO_MATTER or value is None or value is False
        if (not idle and (value is True or key in special)) or (key in NEVER and value):
            raise ModelError(
                f"{FILE} sets {key}: {json.dumps(value)}, which {name} does not do and is not supported; prepare the "
                f"pictures so beforehand and set it to {'false' if value is True else 'null'}, or use another network"
            )


def sizes(said: Mapping[str, Any], name: str, kind: Kind) -> tuple[Size | None, int | None, Size | None]:
    """Size to stretch to, or shortest edge to resize to, and size to crop to."""
    resize, shortest = sized(said["size"], "size", kind.square) if flag(said, "do_resize") else (None, None)
    crops = flag(said, "do_center_crop") and "do_center_crop" not in kind.ignores
    crop = sized(said["crop_size"], "crop_size")[0] if crops and said["crop_size"] is not None else None
    if crops and crop is None:
        raise ModelError(f"{FILE} sets do_center_crop and no crop_size of {{height, width}}; add it")
    share = number(said["crop_pct"], "crop_pct", least=0.01) if "crop_pct" in said else None
    if name == "LevitImageProcessor" and shortest is not None:
        shortest = int(LEVIT_MARGIN * shortest)
    if name == "PoolFormerImageProcessor" and share is not None:
        resize, shortest = enlarged(resize, shortest, share)
    if name == "ConvNextImageProcessor" and share is not None and flag(said, "do_resize"):
        if shortest is None:
            raise ModelError(f"{FILE} has size {said['size']!r}, and {name} understands {{shortest_edge}} alone")
        if shortest >= PLAIN_BELOW:
            resize, shortest = (shortest, shortest), None
        elif crop is not None:
            raise ModelError(f"{FILE} crops twice, by crop_pct and by do_center_crop; set do_center_crop: false")
        else:
            shortest, crop = int(shortest / share), (shortest, shortest)
    return resize, shortest, crop


def enlarged(resize: Size | None, shortest: int | None, share: float) -> tuple[Size | None, int | None]:
    """PoolFormer's: so much larger that the crop is `share` of it; a square keeps the sides' ratio."""
    if shortest is not None:
        return None, int(shortest / share)
    if resize is None:
        return None, None
    height, width = (int(side / share) for side in resize)
    return (None, height) if height == width else ((height, width), None)


def normalisation_of(said: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation in the bytes' own unit, so that (byte - mean) / std is what the network reads.

    EfficientNet may move the rescaled values by one, and divides by the deviation once more with `include_top`.
    """
    rescales, normalises = flag(said, "do_rescale"), flag(said, "do_normalize")
    scale = number(said["rescale_factor"], "rescale_factor", least=1e-9) if rescales else 1.0
    offset = 1.0 if rescales and flag(said, "rescale_offset") else 0.0
    mean = per_channel(said["image_mean"], "image_mean") if normalises else (0.0,)
    own = per_channel(said["image_std"], "image_std", least=1e-9)
    std = own if normalises else (1.0,)
    if flag(said, "include_top"):
        std = tuple(value**2 for value in own) if normalises else own
    return tuple((value + offset) / scale for value in mean), tuple(value / scale for value in std)


def sized(size: Any, key: str, square: bool = True) -> tuple[Size | None, int | None]:
    """((height, width), None), or (None, shortest edge), of the forms that a size is written in."""
    if isinstance(size, Mapping):
        size = {name: value for name, value in size.items() if value is not None}
        if size.keys() == {"height", "width"}:
            return (whole(size["height"], f"{key}.height"), whole(size["width"], f"{key}.width")), None
        if size.keys() == {"shortest_edge", "longest_edge"}:
            raise ModelError(
                f"{FILE} has {key} {shown(size)}, by which each picture keeps its own shape; {{height, width}} or "
                "{shortest_edge} are understood. A detector's boxes are shares of the picture's sides, so give it the "
                f"{key} that it is to be deployed with, such as {{height: 640, width: 640}}"
            )
        if size.keys() == {"shortest_edge"}:
            return None, whole(size["shortest_edge"], f"{key}.shortest_edge")
    elif isinstance(size, list | tuple) and len(size) == 2:
        return (whole(size[0], key), whole(size[1], key)), None
    elif isinstance(size, int) and not isinstance(size, bool):
        side = whole(size, key)
        return ((side, side), None) if square else (None, side)
    raise ModelError(f"{FILE} has {key} {shown(size)}; {{height, width}} or {{shortest_edge}} are understood")


def flag(said: Mapping[str, Any], key: str) -> bool:
    value = said.get(key, False)
    if not isinstance(value, bool):
        raise ModelError(f"{FILE} has {key} {shown(value)}; true and false are understood")
    return value


def whole(value: Any, key: str, most: int = LONGEST_SIDE, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ModelError(f"{FILE} has {key} {shown(value)}; a whole number from {least} to {most} is understood")
    return value


def number(value: Any, key: str, least: float = -math.inf) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9 and value >= least
    if not good:
        above = "" if least == -math.inf else " above zero"
        raise ModelError(f"{FILE} has {key} {shown(value)}; a number{above} is understood")
    return float(value)


def per_channel(value: Any, key: str, least: float = -math.inf) -> tuple[float, ...]:
    values = value if isinstance(value, list | tuple) and value else [value]
    return tuple(number(one, key, least) for one in values)


def shown(value: Any) -> str:
    """A value of the file in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


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


def read_alike(one: Path, other: Path) -> bool:
    """Equal processing and channels; folders without a processor agree: what is read does not depend on them."""
    has = [(inputs_of(folder) / FILE).is_file() for folder in (one, other)]
    if not all(has):
        return not any(has)
    channels = [read_config(folder).get("num_channels", 3) for folder in (one, other)]
    return processor(one.resolve()) == processor(other.resolve()) and channels[0] == channels[1]
