"""What any network must beat: answers of the shape that the task's metric scores, right where they can be known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import save_image_net

from kd2deploy.core import Row, Task
from kd2deploy.tasks._floors import MOST_FITTED, coarse
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.tasks.text_multilabel import TextMultilabel

NOWHERE = Path("not read")
LINEAR = "TF-IDF with a linear model"


def scored(task: Task, train: list[Row], judged: list[Row], folder: Path = NOWHERE) -> dict[str, dict[str, float]]:
    found = task.floors(train, judged, folder)
    return {name: dict(task.metric.score(outputs, judged).metrics) for name, outputs in found.items()}


def about(topics: list[str], count: int, labels: list[Any]) -> list[Row]:
    return [
        {"text": f"{topic} number{place}", "label": label}
        for place in range(count)
        for topic, label in zip(topics, labels, strict=True)
    ]


def test_classes_that_words_tell_apart() -> None:
    task = TextClassification(labels=("sport", "politics", "never seen"))
    train = [*about(["goal", "vote"], 9, ["sport", 1]), {"text": "goal", "label": 0}]
    found = scored(task, train, about(["goal", "vote"], 5, [0, 1]))
    assert found[LINEAR]["accuracy"] == 1.0
    assert found["the commonest answer"]["accuracy"] == 0.5


def test_numbers() -> None:
    task = TextClassification(labels=[], metric="rmse")
    found = scored(task, about(["good", "bad"], 20, [1.0, 0.0]), about(["good", "bad"], 5, [1.0, 0.0]))
    assert found["the commonest answer"]["rmse"] == pytest.approx(0.5)
    assert found[LINEAR]["rmse"] < 0.2


def test_sets_of_labels_one_of_which_every_row_has() -> None:
    task = TextMultilabel(labels=("plot", "sound", "film"))
    train = about(["story", "music"], 12, [["plot", "film"], ["sound", "film"]])
    found = scored(task, train, train[:6])
    assert found[LINEAR]["micro_f1"] == 1.0
    assert found["the commonest answer"]["micro_f1"] < 1.0


def test_pictures(tmp_path: Path) -> None:
    save_image_net(tmp_path / "net")
    task = ImageClassification(labels=("dark", "light")).at(tmp_path / "net")
    shape = (task.reader.height, task.reader.width)
    rows: list[Row] = [
        {"image": np.full(shape, 200 * (place % 2) + place, dtype=np.uint8), "label": place % 2} for place in range(12)
    ]
    found = scored(task, rows, rows[:6], tmp_path / "net")
    assert found["a linear model of the pixels"]["accuracy"] == 1.0


def test_large_pictures_are_averaged_down_to_the_same_values_of_blocks() -> None:
    pictures = np.zeros((2, 3, 57, 112), dtype=np.uint8)
    pictures[1, :, 2:4, :4] = 255
    found = coarse(pictures)
    assert found.shape == (2, 3 * 28 * 56)
    assert found[1].sum() == 3 * 2
    assert not found[0].any()


def test_one_class_and_texts_without_words_have_the_commonest_answer_alone() -> None:
    task = TextClassification(labels=("a", "b"))
    assert list(scored(task, about(["goal"], 3, [0]), about(["goal"], 2, [0]))) == ["the commonest answer"]
    wordless: list[Row] = [{"text": "!?", "label": place % 2} for place in range(6)]
    assert list(scored(task, wordless, wordless)) == ["the commonest answer"]


def test_so_many_rows_that_fitting_would_take_minutes_are_drawn_from_and_it_is_said() -> None:
    task = TextClassification(labels=("a", "b"))
    rows: list[Row] = [{"text": f"word{place % 2}", "label": place % 2} for place in range(MOST_FITTED + 2)]
    assert list(scored(task, rows, rows[:2])) == ["the commonest answer", f"{LINEAR}, 10,000 rows"]
