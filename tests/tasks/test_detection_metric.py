"""COCO's average precision, of all pictures and of any of them, against pycocotools' own account of it."""

from typing import Any

import numpy as np
import pytest
from judged_by_coco import judged

from kd2deploy.errors import DataError
from kd2deploy.tasks._detection_metric import DetectionMetric, likeness
from kd2deploy.tasks._found import found_in
from kd2deploy.tasks._objects import pixels_of

pytest.importorskip("pycocotools", reason="pycocotools is not installed")
LABELS = ("a", "b", "c", "never")
SIDE = 200


def made(count: int, queries: int = 12, seed: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Answers that find about half of what there is, nearly where it is, and much else; crowds among the truth."""
    draws = np.random.default_rng(seed)
    rows, logits, boxes = (
        [],
        draws.normal(-2, 1, (count, queries, len(LABELS))),
        draws.uniform(0.2, 0.5, (count, queries, 4)),
    )
    for at in range(count):
        label = []
        for place in range(int(draws.integers(0, 5))):
            size = draws.uniform(10, 110, 2)
            corner = draws.uniform(0, SIDE - size)
            kind = int(draws.integers(0, 3))
            label.append({"category": LABELS[kind], "box": [*corner, *size], "crowd": bool(draws.random() < 0.15)})
            if draws.random() < 0.7:
                centre = (corner + size / 2) / SIDE
                boxes[at, place] = [*centre, *(size / SIDE)] * draws.normal(1, 0.03, 4)
                logits[at, place, kind] = draws.normal(1, 1)
        rows.append({"image": np.zeros((SIDE, SIDE, 3), np.uint8), "label": label, "index": at})
    return {"logits": logits, "pred_boxes": boxes.clip(0.01, 0.99)}, rows


def reference(outputs: dict[str, Any], rows: list[dict[str, Any]], places: list[int]) -> list[float]:
    """pycocotools' summary of pictures, each a new one however often it stands there."""
    truth, answers = [], []
    for at, place in enumerate(places):
        for one in rows[place]["label"]:
            x, y, w, h = one["box"]
            kind = LABELS.index(one["category"])
            truth.append(
                {"image_id": at, "category_id": kind, "bbox": [x, y, w, h], "area": w * h, "iscrowd": int(one["crowd"])}
            )
        found = found_in(outputs["logits"][place], outputs["pred_boxes"][place], False, 100)
        for kind, score, box in zip(found.kind, found.score, pixels_of(found.boxes, (SIDE, SIDE)), strict=True):
            answers.append({"image_id": at, "category_id": int(kind), "bbox": box.tolist(), "score": float(score)})
    return judged(truth, answers, len(places), len(LABELS))


def test_all_pictures_score_what_pycocotools_says() -> None:
    outputs, rows = made(24)
    metric = DetectionMetric(LABELS, "map", background=False)
    halves = [
        metric.statistics({name: one[part] for name, one in outputs.items()}, rows[part])
        for part in (slice(0, 10), slice(10, 24))
    ]
    joined = {name: np.concatenate([half[name] for half in halves]) for name in halves[0]}
    found = metric.scores(joined).metrics
    expected = reference(outputs, rows, list(range(24)))
    assert 0.1 < expected[0] < 0.9
    names = ("map", "ap50", "ap75", "map_small", "map_medium", "map_large")
    assert [found[name] for name in names] == pytest.approx(expected[:6], abs=1e-12)
    each = metric.scores(joined).by_class["Average precision"]
    assert set(each) == set(LABELS) - {"never"}
    assert np.mean(list(each.values())) == pytest.approx(expected[0], abs=1e-12)
    assert len({round(one, 6) for one in each.values()}) == len(each)


@pytest.mark.parametrize("headline", ["map", "ap50"])
def test_any_pictures_some_of_them_twice_score_what_pycocotools_says(headline: str) -> None:
    outputs, rows = made(24, seed=1)
    metric = DetectionMetric(LABELS, headline, background=False)
    statistics = metric.statistics(outputs, rows)
    draws = np.random.default_rng(2)
    for _ in range(4):
        places = draws.integers(0, 24, 24)
        expected = reference(outputs, rows, places.tolist())
        assert metric.at(statistics, places) == pytest.approx(expected[headline == "ap50"], abs=1e-12)
    assert metric.at(statistics, np.arange(24)) == pytest.approx(metric.scores(statistics).metrics[headline], abs=1e-12)


def test_pictures_without_an_object_have_no_precision() -> None:
    outputs, rows = made(4)
    rows = [{**row, "label": []} for row in rows]
    metric = DetectionMetric(LABELS, "map", background=False)
    statistics = metric.statistics(outputs, rows)
    assert np.isnan(metric.at(statistics, np.arange(4)))
    with pytest.raises(DataError, match="no picture to judge by shows an object"):
        metric.scores(statistics)


def test_a_row_without_a_label_and_an_output_that_is_not_finite_are_refused() -> None:
    outputs, rows = made(2)
    metric = DetectionMetric(LABELS, "map", background=False)
    with pytest.raises(DataError, match="row 1 has no label"):
        metric.statistics(outputs, [rows[0], {**rows[1], "label": None}])
    outputs["pred_boxes"][1, 0, 0] = np.nan
    with pytest.raises(DataError, match="row 1 is not finite"):
        metric.statistics(outputs, rows)


def test_scores_are_of_the_truth_that_they_were_made_of() -> None:
    outputs, rows = made(3, seed=4)
    metric = DetectionMetric(LABELS, "map", background=False)
    rows[0]["label"] = [{"category": "a", "box": [10.0, 10.0, 50.0, 50.0]}]
    moved = [{**rows[0], "label": [{"category": "a", "box": [11.0, 10.0, 50.0, 50.0]}]}, *rows[1:]]
    one, other = (metric.score(outputs, asked).examples for asked in (rows, moved))
    assert one != other


def test_a_query_of_a_network_with_a_class_of_no_object_finds_its_likeliest_class() -> None:
    logits = np.log(np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]))
    found = found_in(logits, np.eye(4)[:2], background=True, most=5)
    assert found.kind.tolist() == [0, 1]
    assert found.score.tolist() == pytest.approx([0.6, 0.2])
    each = found_in(np.array([[0.0, 2.0], [1.0, -3.0]]), np.eye(4)[:2], background=False, most=3)
    assert each.kind.tolist() == [1, 0, 0]
    assert each.boxes.tolist() == np.eye(4)[[0, 1, 0]].tolist()


def test_two_artifacts_agree_as_far_as_they_find_the_same() -> None:
    box, away = [0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]
    one = np.array([[0, 0.8, *box], [1, 0.4, *away]])
    assert likeness(one, one) == pytest.approx(1)
    assert likeness(one, np.array([[0, 0.8, *box], [2, 0.4, *away]])) == pytest.approx(1.6 / 2.4)
    assert likeness(one * 0, one * 0) == 1
    outputs, _ = made(3)
    metric = DetectionMetric(LABELS, "map", background=False)
    assert metric.alike(outputs, outputs)["top1"] == pytest.approx(1)
    flipped = {**outputs, "logits": outputs["logits"][:, ::-1]}
    assert metric.alike(outputs, flipped)["top1"] < 0.9


def test_a_person_is_told_of_what_is_likely() -> None:
    logits = np.full((1, 2, 4), -6.0)
    logits[0, 1, 2] = 3.0
    told = DetectionMetric(LABELS, "map", background=False).answer(
        {"logits": logits, "pred_boxes": np.array([[[0.5, 0.5, 0.2, 0.4]] * 2])}
    )
    assert told == [{"objects": [{"label": "c", "score": 0.9526, "box": [0.4, 0.3, 0.6, 0.7]}]}]
