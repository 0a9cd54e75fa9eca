"""Objects in pictures, from drawn scenes to a judged bundle whose card finds them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kd2deploy.exporters.bundle import read_bundle
from kd2deploy.flows.compress import compress
from kd2deploy.recipe import Recipe

pytest.importorskip("pycocotools", reason="pycocotools is not installed")
pytestmark = pytest.mark.recipe
RECIPE = Path(__file__).parent.parent.parent / "kd2deploy" / "recipes" / "detection.yaml"


def small() -> dict[str, Any]:
    spec = Recipe.read(RECIPE).spec()
    spec["data"] |= {"train": 80, "validation": 10, "eval": 24}
    spec["variants"] = ["onnx", "onnx-qdq"]
    spec["measurement"] = {"processes": 3, "cap_s": 2, "block_s": 0.02}
    spec["gates"] = {"max_drop": 0.9}
    spec["teacher"]["fine_tune"]["epochs"] = spec["distill"][0]["epochs"] = 1
    return spec


def test_scenes_are_learnt_exported_quantized_measured_judged_and_shown(tmp_path: Path) -> None:
    (result,) = compress(Recipe.parse(small()), tmp_path / "run")
    report = result.report
    assert report.task is not None
    assert (report.task.metric, report.task.metric_unit, report.task.labels) == (
        "map",
        "share",
        ("disc", "square", "triangle"),
    )
    (floor,) = report.floors
    assert floor.name == "the middle box of every class"
    scores = {one.role: one.metric for one in report.contenders if one.metric}
    assert scores.keys() >= {"teacher", "student"}
    assert all(0 <= one.value <= 1 for one in scores.values() if one.value is not None)
    assert report.verdict is not None
    assert [one.caption for one in report.shown] == [
        f"Picture {place}, from left to right: labelled, student, teacher" for place in (1, 2, 3)
    ]
    assert result.bundle is not None
    bundle = read_bundle(result.bundle)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)).save(
        tmp_path / "picture.png"
    )
    with bundle.open() as session:
        feed = bundle.reader.preparing(result.bundle)([bundle.task.reader.row(str(tmp_path / "picture.png"))])
        found = session.run(feed)
    assert (found["logits"].shape, found["pred_boxes"].shape) == ((1, 8, 4), (1, 8, 4))
    said = json.loads((result.bundle / "preprocessor_config.json").read_text())
    assert (said["image_processor_type"], said["size"]) == ("YolosImageProcessor", {"height": 64, "width": 64})
    assert "pred_boxes" in (result.bundle / "README.md").read_text()
