"""A bundle's preprocessor_config.json: every step of what was judged, by a class that all clients read alike.

A training's file may name little, and what its class fills in differs between libraries: ConvNeXt's share that is
cropped, LeViT's margin, EfficientNet's second division.
"""

import json
import math
from pathlib import Path

from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.detectors import family_of
from kd2deploy.networks.image_processor import FILE, Processor, processor

PLAIN, CROPPING = "ViTImageProcessor", "CLIPImageProcessor"
"""Classes that do what their file says and nothing else, in transformers as in transformers.js."""


def write_processor(folder: Path, channels: int) -> None:
    """Write the file in a bundle's `folder` anew. Raises ModelError where it then reads otherwise than before.

    A network that reads blue first keeps its own file: the plain classes cannot say so.
    """
    judged = processor.__wrapped__(folder.resolve())
    if judged.flip:
        return
    mean, std = judged.normalisation(channels)
    cuts = judged.crop is not None or judged.shortest_edge is not None
    said = {
        "image_processor_type": CROPPING if cuts else PLAIN,
        "do_convert_rgb": channels == 3,
        "do_resize": judged.resize is not None or judged.shortest_edge is not None,
        "size": size_of(judged),
        "resample": judged.resample,
        "do_center_crop": judged.crop is not None,
        "crop_size": None if judged.crop is None else {"height": judged.crop[0], "width": judged.crop[1]},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [float(value) / 255 for value in mean.reshape(-1)],
        "image_std": [float(value) / 255 for value in std.reshape(-1)],
    }
    said = {name: value for name, value in said.items() if value is not None}
    (folder / FILE).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    written = processor.__wrapped__(folder.resolve())
    steps = [(one.resize, one.shortest_edge, one.crop, one.resample) for one in (judged, written)]
    wide = written.normalisation(channels)
    alike = all(
        math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)
        for a, b in zip(
            [*mean.reshape(-1), *std.reshape(-1)], [*wide[0].reshape(-1), *wide[1].reshape(-1)], strict=True
        )
    )
    if steps[0] != steps[1] or not alike:
        raise ModelError(f"{FILE} cannot say in plain words what was judged; use a ViT's or a CLIP's image processor")


def write_detector_processor(folder: Path) -> None:
    """The same for a detector, by its family's own class: clients ask that one what the answers mean."""
    judged = processor.__wrapped__(folder.resolve())
    assert judged.resize is not None, "which a detector's reader was checked for"
    mean, std = judged.normalisation(3)
    height, width = judged.resize
    said = {
        "image_processor_type": family_of(read_config(folder)).processor,
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": judged.resample,
        "do_pad": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [float(value) / 255 for value in mean.reshape(-1)],
        "image_std": [float(value) / 255 for value in std.reshape(-1)],
    }
    (folder / FILE).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def size_of(judged: Processor) -> dict[str, int] | None:
    if judged.resize is not None:
        return {"height": judged.resize[0], "width": judged.resize[1]}
    return None if judged.shortest_edge is None else {"shortest_edge": judged.shortest_edge}
