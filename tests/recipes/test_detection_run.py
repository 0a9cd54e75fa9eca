"""Objects in pictures, from drawn scenes to a judged bundle whose card finds them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judged_by_coco import judged
from PIL import Image
from recipes.cards import by_card

from kd2deploy.exporters.bundle import read_bundle
from kd2deploy.flows.compress import Result, compress
from kd2deploy.recipe import Recipe
from kd2deploy.stages.prepare import prepare

pytest.importorskip("pycocotools", reason="pycocotools is not installed")
pytestmark = pytest.mark.recipe
YOLOS: dict[str, Any] = {
    "model_type": "yolos",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_detection_tokens": 8,
    "patch_size": 8,
}


def small() -> dict[str, Any]:
    training = {"epochs": 3, "learning_rate": 2e-3, "batch": 16, "augment": {"flip": 0.5, "crop": [0.8, 1.0]}}
    return {
        "task": {"use": "object_detection", "height": 64, "width": 64},
        "data": {"use": "sample_scenes", "train": 80, "validation": 10, "eval": 24},
        "teacher": {"create": YOLOS, "fine_tune": training},
        "student": {"shrink": {"layers": 2, "hidden": 16}},
        "distill": [{"method": "task_only", **training}],
        "control": False,
        "targets": ["cpu"],
        "variants": ["onnx", "onnx-qdq"],
        "measurement": {"processes": 3, "cap_s": 2, "block_s": 0.02},
        "gates": {"max_drop": 0.9},
    }


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    (found,) = compress(Recipe.parse(small()), tmp_path_factory.mktemp("detection") / "run")
    return found


def test_scenes_are_learnt_exported_quantized_measured_judged_and_shown(result: Result) -> None:
    report = result.report
    assert report.task is not None
    assert (report.task.metric, report.task.metric_unit) == ("map", "share")
    assert report.task.labels == ("disc", "square", "triangle")
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
    said = json.loads((result.bundle / "preprocessor_config.json").read_text())
    assert (said["image_processor_type"], said["size"]) == ("YolosImageProcessor", {"height": 64, "width": 64})


def test_a_picture_of_any_size_is_answered(result: Result, tmp_path: Path) -> None:
    assert result.bundle is not None
    bundle, file = read_bundle(result.bundle), tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)).save(file)
    with bundle.open() as session:
        found = session.run(bundle.reader.preparing(result.bundle)([bundle.task.reader.row(str(file))]))
    assert (found["logits"].shape, found["pred_boxes"].shape) == ((1, 8, 4), (1, 8, 4))


def test_plain_onnxruntime_with_the_cards_own_code_gives_the_reports_score(result: Result, tmp_path: Path) -> None:
    assert result.bundle is not None
    (told,) = (one.metrics for one in result.report.contenders if one.name == "onnx")
    _, splits, _ = prepare(Recipe.parse(small()))
    files = [tmp_path / f"{place}.png" for place in range(len(splits.eval))]
    for row, file in zip(splits.eval, files, strict=True):
        Image.fromarray(row["image"]).save(file)
    each = "import json\nfor path in sys.argv[1:]:\n    print(json.dumps(answer(path, least=0.0)))"
    lines = by_card(result.bundle, "onnx", 'print(answer("picture.png"))', each, *files)
    names, truth, answers = splits.labels, [], []
    for at, (row, line) in enumerate(zip(splits.eval, lines, strict=True)):
        for one in row["label"]:
            x, y, w, h = one["box"]
            kind = names.index(one["category"])
            truth.append({"image_id": at, "category_id": kind, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0})
        for name, score, (left, top, right, bottom) in json.loads(line):
            box = [left, top, right - left, bottom - top]
            answers.append({"image_id": at, "category_id": names.index(name), "bbox": box, "score": score})
    stats = judged(truth, answers, len(files), len(names))
    assert told["ap50"] > 0
    # a rounding may exchange two answers that are equally likely
    assert stats[:2] == pytest.approx([told[name] for name in ("map", "ap50")], rel=0.02)
