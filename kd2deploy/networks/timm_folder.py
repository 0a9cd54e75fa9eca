"""A folder as timm saves one, written once more as transformers' wrapper around timm opens it.

What it says of its pictures (`pretrained_cfg`) becomes a preprocessor_config.json of the same steps. Where timm rounds
the place of the middle up, what is cut out lies one pixel beside: that is the only difference.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd2deploy.core.artifact import sha256_of
from kd2deploy.core.cache import cache_folder
from kd2deploy.core.reading import object_of
from kd2deploy.errors import ModelError, first_line
from kd2deploy.networks._processor_classes import BICUBIC, BILINEAR, IMAGENET_MEAN, IMAGENET_STD, LANCZOS, NEAREST
from kd2deploy.networks.foreign import refused_as
from kd2deploy.networks.image_processor import FILE
from kd2deploy.networks.weights import weight_files

FILTERS: Mapping[str, int] = {"nearest": NEAREST, "bilinear": BILINEAR, "bicubic": BICUBIC, "lanczos": LANCZOS}
USUAL_SHARE = 0.875
"""Of a resized picture that is cut out of its middle, where the folder names none: timm's own."""
REMEDY = "save the model anew with timm"


def is_timm(folder: Path) -> bool:
    """Whether timm saved the folder: its configuration names an architecture, and no model type of transformers."""
    config = folder / "config.json"
    found = object_of(config, ModelError, "save the model anew") if config.is_file() else {}
    return "architecture" in found and "model_type" not in found


def opened_by_transformers(folder: Path) -> Path:
    """The same network in a folder of the cache that transformers opens. Raises ModelError with the remedy where timm
    cannot be imported, and for pictures that are prepared as nothing here does."""
    need_timm()
    config = folder / "config.json"
    said = object_of(config, ModelError, REMEDY)
    (weights,) = weight_files(folder)
    mark = hashlib.sha256("".join(map(sha256_of, (config, weights))).encode()).hexdigest()[:16]
    out = cache_folder() / "timm" / mark
    if not (out / "config.json").is_file():
        pictures = processor_of(folder, said.get("pretrained_cfg") or {})
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, out / "model.safetensors")
        (out / FILE).write_text(json.dumps(pictures, indent=2), encoding="utf-8")
        (out / "config.json").write_text(json.dumps(config_of(folder, said), indent=2), encoding="utf-8")  # last
    return out


def need_timm() -> None:
    try:
        import timm  # noqa: F401
    except ImportError as error:
        raise ModelError("a network of timm needs timm; pip install 'kd2deploy[timm]'") from error
    except RuntimeError as error:  # of a torchvision whose operators this torch does not load
        raise ModelError(
            f"timm cannot be imported here ({first_line(error)}): its torchvision was not built for this torch; "
            "install the two from one index, or use a network of transformers"
        ) from error


def config_of(folder: Path, said: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers reads: the same, its model type, and the classes that it finds in it by timm's own lists."""
    from transformers import TimmWrapperConfig

    with refused_as(f"{folder / 'config.json'} is no configuration that transformers reads"):
        named = TimmWrapperConfig.from_dict(json.loads(json.dumps(said))).id2label
    channels = input_size(folder, said.get("pretrained_cfg") or {})[0]
    labels = [str(named[place]) for place in sorted(named)]
    return {**said, "model_type": TimmWrapperConfig.model_type, "label_names": labels, "num_channels": channels}


def input_size(folder: Path, pictures: Mapping[str, Any]) -> tuple[int, int, int]:
    found = pictures.get("input_size", (3, 224, 224))
    if not isinstance(found, list | tuple) or len(found) != 3 or not all(isinstance(one, int) for one in found):
        raise ModelError(f"{folder}: input_size must be [channels, height, width], got {found!r}; {REMEDY}")
    channels, height, width = found
    return channels, height, width


def processor_of(folder: Path, pictures: Mapping[str, Any]) -> dict[str, Any]:
    """The processor that does what timm does. Raises ModelError for what none here does."""
    _, height, width = input_size(folder, pictures)
    mode, interpolation = pictures.get("crop_mode") or "center", pictures.get("interpolation") or "bilinear"
    share = pictures.get("crop_pct") or USUAL_SHARE
    if mode not in ("center", "squash") or interpolation not in FILTERS or (mode == "center" and height != width):
        raise ModelError(
            f"the pictures of {folder} are prepared at {height} x {width}, cut by {mode}, {interpolation} filter, "
            "which is not supported: only squares are cut out of the middle, or pictures stretched (squash), by "
            f"{', '.join(FILTERS)}; use another network"
        )
    before = [math.floor(one / share) for one in (height, width)]
    stretched = {"height": before[0], "width": before[1]}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": stretched if mode == "squash" else {"shortest_edge": before[0]},
        "resample": FILTERS[interpolation],
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(pictures.get("mean") or IMAGENET_MEAN),
        "image_std": list(pictures.get("std") or IMAGENET_STD),
    }
