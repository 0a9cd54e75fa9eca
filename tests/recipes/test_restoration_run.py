"""Pictures to restore, from two photos to a judged bundle whose file gives the report's score."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kd2deploy.exporters.bundle import read_bundle
from kd2deploy.flows.compress import compress
from kd2deploy.recipe import Recipe

pytest.importorskip("skimage", reason="scikit-image is not installed")
pytestmark = pytest.mark.recipe
RECIPE = Path(__file__).parent.parent.parent / "kd2deploy" / "recipes" / "restoration.yaml"


def small() -> dict[str, Any]:
    spec = Recipe.read(RECIPE).spec()
    spec["variants"] = ["onnx", "onnx-qdq"]
    spec["measurement"] = {"processes": 3, "cap_s": 2, "block_s": 0.02}
    spec["gates"] = {"max_drop": 5.0}
    spec["limit_eval"] = 8
    spec["teacher"]["fine_tune"]["steps"] = spec["distill"][0]["steps"] = 40
    return spec


def test_photos_are_restored_exported_quantized_measured_and_judged(tmp_path: Path) -> None:
    (result,) = compress(Recipe.parse(small()), tmp_path / "run")
    report = result.report
    assert report.task is not None
    assert (report.task.metric, report.task.metric_suffix, report.task.unit_of_size) == ("psnr", "dB", "megapixel")
    (floor,) = report.floors
    assert floor.name == "bicubic interpolation"
    scores = {one.role: one.metric.value for one in report.contenders if one.metric}
    assert scores["teacher"] is not None
    assert floor.metric.value is not None
    assert scores["teacher"] > floor.metric.value - 0.5
    assert report.verdict is not None
    assert report.verdict.outcome in ("PASS", "INCONCLUSIVE"), report.verdict.sentence
    assert [one.caption for one in report.shown] == [
        f"Picture {place}, from left to right: input, without a teacher, student, teacher, clean" for place in (1, 2, 3)
    ]
    timed = [(one.timing.per_unit, one.timing.median) for one in report.contenders if one.timing]
    assert timed
    assert all(unit is not None for unit, _ in timed)
    # where a busy machine gave too few times to tell a median, neither is told
    assert all(unit.value > median.value for unit, median in timed if None not in (unit.value, median.value))
    page = (result.folder / "report.html").read_text()
    assert all(f"data:image/png;base64,{one.picture}" in page for one in report.shown)
    assert result.bundle is not None
    bundle = read_bundle(result.bundle)
    picture = np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    with bundle.open() as session:
        feed = bundle.reader.preparing(result.bundle)([bundle.task.reader.row(str(tmp_path / "picture.png"))])
        found = session.run(feed)["reconstruction"]
    assert found.shape == (1, 3, 74, 102)
    assert json.loads((result.bundle / "preprocessor_config.json").read_text())["do_pad"] is False


def test_dckd_learns_and_says_what_it_compared_by(tmp_path: Path) -> None:
    spec = small()
    distill = {"use": "dckd", "codebook_steps": 3}
    spec["distill"] = [{"method": distill, "steps": 6, "learning_rate": 1e-3, "batch": 4, "augment": {"patch": 16}}]
    spec["teacher"]["fine_tune"]["steps"] = 6
    spec["control"] = False
    (result,) = compress(Recipe.parse(spec), tmp_path / "run", until="distill")
    assert any("small codebook that was trained for 3 steps" in said for said in result.report.warnings)
