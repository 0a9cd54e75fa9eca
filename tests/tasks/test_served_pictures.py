"""A bundle's image processor file: the task and transformers read the same pixels from it, whatever stood there."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import save_image_net

from kd2deploy.core import Reader
from kd2deploy.tasks.image_classification import ImageClassification

FILES: dict[str, dict[str, Any]] = {
    "stretched": {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}, "resample": 2},
    "cropped": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 20}, "crop_size": 16},
    "a share": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 16}, "crop_pct": 0.8},
    "a margin": {"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 16}, "crop_size": 16},
    "blue first": {
        "image_processor_type": "MobileViTImageProcessor",
        "size": {"shortest_edge": 20},
        "crop_size": {"height": 16, "width": 16},
        "do_flip_channel_order": True,
    },
}


@pytest.mark.parametrize("given", FILES.values(), ids=FILES)
def test_transformers_reads_the_judged_pixels(given: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    save_image_net(tmp_path, "resnet", channels=3)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(given))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 24, 3), dtype=np.uint8))
    task = ImageClassification(["zero", "one", "two"]).at(tmp_path)
    row = {"image": picture, "label": None}
    judged = task.reader.feed(task.reader.encode([row], tmp_path))["pixel_values"]
    task.reader.write_as_judged(tmp_path)
    (tmp_path / "elsewhere").mkdir()  # read anew, past the task's cache
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / "elsewhere" / name).write_bytes((tmp_path / name).read_bytes())
    np.testing.assert_allclose(
        task.reader.feed(task.reader.encode([row], tmp_path / "elsewhere"))["pixel_values"], judged, atol=1e-5
    )
    reader = AutoImageProcessor.from_pretrained(tmp_path)
    np.testing.assert_allclose(reader(picture, return_tensors="np")["pixel_values"], judged, atol=1e-4)


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "kd2deploy/tasks").glob("[!_]*.py")))
def test_every_task_says_in_a_bundle_how_its_inputs_were_read(file: Path) -> None:
    (task,) = (
        one
        for one in vars(importlib.import_module(f"kd2deploy.tasks.{file.stem}")).values()
        if getattr(one, "name", None) == file.stem
    )
    assert task.reads.write_as_judged is not Reader.write_as_judged
