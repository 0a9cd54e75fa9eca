"""Pictures to restore, from two photos to a judged bundle whose file gives the report's score."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from recipes.cards import by_card

from kd2deploy.exporters.bundle import read_bundle
from kd2deploy.flows.compress import Result, compress
from kd2deploy.recipe import Recipe
from kd2deploy.stages.prepare import prepare

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


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    (found,) = compress(Recipe.parse(small()), tmp_path_factory.mktemp("restoration") / "run")
    return found


def test_photos_are_restored_exported_quantized_measured_and_judged(result: Result) -> None:
    report = result.report
    assert report.task is not None
    assert (report.task.metric, report.task.metric_suffix) == ("psnr", "dB")
    (floor,) = report.floors
    assert floor.name == "bicubic interpolation"
    scores = {one.role: one.metric.value for one in report.contenders if one.metric}
    assert scores["teacher"] is not None
    assert floor.metric.value is not None
    assert scores["teacher"] > floor.metric.value - 0.5
    assert report.verdict is not None
    assert report.verdict.outcome in ("PASS", "INCONCLUSIVE"), report.verdict.sentence


def test_pictures_stand_side_by_side_and_latency_is_told_per_megapixel(result: Result) -> None:
    report = result.report
    assert [one.caption for one in report.shown] == [
        f"Picture {place}, from left to right: input, without a teacher, student, teacher, clean" for place in (1, 2, 3)
    ]
    assert report.task is not None
    assert report.task.unit_of_size == "megapixel of input"
    timed = [(one.timing.per_unit, one.timing.median) for one in report.contenders if one.timing]
    assert timed
    assert all(unit is not None for unit, _ in timed)
    # where a busy machine gave too few times to tell a median, neither is told
    assert all(unit.value > median.value for unit, median in timed if None not in (unit.value, median.value))
    page = (result.folder / "report.html").read_text()
    assert all(f"data:image/png;base64,{one.picture}" in page for one in report.shown)


def test_a_picture_of_any_size_is_restored(result: Result, tmp_path: Path) -> None:
    assert result.bundle is not None
    bundle = read_bundle(result.bundle)
    picture = np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    with bundle.open() as session:
        feed = bundle.reader.preparing(result.bundle)([bundle.task.reader.row(str(tmp_path / "picture.png"))])
        found = session.run(feed)["reconstruction"]
    assert found.shape == (1, 3, 74, 102)
    assert json.loads((result.bundle / "preprocessor_config.json").read_text())["do_pad"] is False


def luma(picture: Image.Image) -> "np.ndarray[Any, Any]":
    """[H, W], 16..235: ITU-R BT.601, without the two pixels at each side that are not judged."""
    found = 16 + np.asarray(picture, dtype=np.float64) @ np.array([65.481, 128.553, 24.966]) / 255
    return np.asarray(found[2:-2, 2:-2])


@pytest.mark.parametrize("variant", ["onnx", "onnx-qdq"])
def test_plain_onnxruntime_with_the_cards_own_code_gives_the_reports_score(
    result: Result, variant: str, tmp_path: Path
) -> None:
    assert result.bundle is not None
    _, splits, _ = prepare(Recipe.parse(small()))
    clean = [Image.fromarray(row["label"]) for row in splits.eval]
    files = [tmp_path / f"{place}.png" for place in range(len(clean))]
    for picture, file in zip(clean, files, strict=True):
        picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC).save(file)
    each = "for path in sys.argv[1:]:\n    restored(path).save(path)"
    by_card(result.bundle, variant, 'restored("picture.png").save("restored.png")', each, *files)
    errors = [np.square(luma(Image.open(file)) - luma(one)).mean() for file, one in zip(files, clean, strict=True)]
    (told,) = (one.metrics for one in result.report.contenders if one.name == variant)
    assert len(errors) == 8
    # other threads may round a pixel otherwise
    assert np.mean(10 * np.log10(255**2 / np.array(errors))) == pytest.approx(told["psnr"], abs=0.01)


def test_dckd_learns_and_says_what_it_compared_by(tmp_path: Path) -> None:
    spec = small()
    distill = {"use": "dckd", "codebook_steps": 3}
    spec["distill"] = [{"method": distill, "steps": 6, "learning_rate": 1e-3, "batch": 4, "augment": {"patch": 16}}]
    spec["teacher"]["fine_tune"]["steps"] = 6
    spec["control"] = False
    (result,) = compress(Recipe.parse(spec), tmp_path / "run", until="distill")
    assert any("small codebook that was trained for 3 steps" in said for said in result.report.warnings)
