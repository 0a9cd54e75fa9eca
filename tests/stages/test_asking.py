"""A function that is the teacher: asked about rows alone, once about each, and every odd answer told in one line."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd2deploy import usable_as
from kd2deploy.core.trust import MARK
from kd2deploy.core.watcher import Silent
from kd2deploy.data.splits import Splits
from kd2deploy.errors import DataError, RecipeError
from kd2deploy.recipe import Answers, Recipe
from kd2deploy.stages.asking import all_asked

HERE = __name__
LABELS = ("neg", "pos")
asked: list[list[dict[str, Any]]] = []
fails_after: list[int] = []


@usable_as("teacher")
def lengths(rows: Sequence[dict[str, Any]], by: float = 1.0) -> list[list[float]]:
    if fails_after and len(asked) >= fails_after[0]:
        raise TimeoutError("the service is\ntired")
    asked.append(list(rows))
    return [[by * len(row["text"]), 0.0] for row in rows]


@usable_as("teacher")
def shares(rows: Sequence[dict[str, Any]]) -> Any:
    return np.asarray([[0.25, 0.75] for _ in rows])


@usable_as("teacher")
def one_short(rows: Sequence[dict[str, Any]]) -> Any:
    return [[0.0, 1.0] for _ in rows[1:]]


@usable_as("teacher")
def no_numbers(rows: Sequence[dict[str, Any]]) -> Any:
    return [["yes", "no"] for _ in rows]


@usable_as("teacher")
def without_an_end(rows: Sequence[dict[str, Any]]) -> Any:
    return [[0.0, float("inf")] for _ in rows]


def unmarked(rows: Sequence[dict[str, Any]]) -> Any:
    raise AssertionError("it was called")


@pytest.fixture(autouse=True)
def _anew() -> None:
    asked.clear()
    fails_after.clear()


def splits() -> Splits:
    rows = [{"text": "x" * length, "label": length % 2, "note": "secret"} for length in range(1, 12)]
    return Splits(rows[:7], [], rows[7:], LABELS, (), 0, "")


def answers(name: str, folder: Path, returns: str = "logits", **more: Any) -> dict[str, Any]:
    said = Answers.model_validate({"ask": f"{HERE}.{name}", "returns": returns, "batch": 3, **more})
    return all_asked(splits(), said, ["text"], LABELS, folder, Silent())


def test_each_row_is_asked_about_once_by_the_tasks_fields_alone(tmp_path: Path) -> None:
    found = answers("lengths", tmp_path)
    assert found["train"].tolist() == [[length, 0] for length in range(1, 8)]
    assert found["eval"].tolist() == [[length, 0] for length in range(8, 12)]
    assert [len(rows) for rows in asked] == [3, 3, 1, 3, 1]
    assert all(set(row) == {"text"} for rows in asked for row in rows), "neither labels nor other columns"


def test_what_was_answered_before_it_failed_is_not_asked_again(tmp_path: Path) -> None:
    fails_after.append(2)
    with pytest.raises(DataError, match=r"failed at training rows 7 to 7 \(TimeoutError: the service is tired\)"):
        answers("lengths", tmp_path)
    with (tmp_path / "asked-train.bin").open("ab") as kept:
        kept.write(b"\x00\x00\x80")  # a kill in the middle of a number
    asked.clear()
    fails_after.clear()
    found = answers("lengths", tmp_path)
    assert found["train"].tolist() == [[length, 0] for length in range(1, 8)]
    assert sum(map(len, asked)) == 1 + 4


def test_probabilities_are_taken_by_their_logarithm_and_classes_by_their_name(tmp_path: Path) -> None:
    found = answers("shares", tmp_path, "probabilities", labels=["pos", "neg"])
    np.testing.assert_allclose(np.exp(found["train"]), [[0.75, 0.25]] * 7, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "returns", "told"),
    [
        ("one_short", "logits", r"training rows 1 to 3 with numbers of shape \[2, 2\]"),
        ("no_numbers", "logits", r"failed at training rows 1 to 3 \(ValueError: could not convert string"),
        ("without_an_end", "logits", r"among training rows 1 to 3: rows 1, 2, 3 have a number that is not finite"),
        ("lengths", "probabilities", r"rows 2, 3 have probabilities .* `returns: logits` of a function"),
    ],
)
def test_odd_answers_are_told_and_which_rows_were_asked_about(
    name: str, returns: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=told):
        answers(name, tmp_path, returns)


def test_other_classes_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names the classes good, bad, and the data have neg, pos"):
        answers("lengths", tmp_path, labels=["good", "bad"])
    assert not asked


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ask": f"{HERE}.unmarked", "returns": "logits"}, r"mark it with @kd2deploy.usable_as\('teacher'\)"),
        ({"ask": "lengths", "returns": "logits"}, "no teacher is called 'lengths'; name a function of yours"),
        ({"ask": "os.getcwd", "returns": "logits"}, "os is Python's own"),
        ({"ask": {"use": f"{HERE}.lengths", "bye": 2}, "returns": "logits"}, "did you mean 'by'?"),
        ({"ask": f"{HERE}.lengths"}, "does not say what the function `returns`"),
        ({"ask": f"{HERE}.lengths", "returns": "logits", "id": "uid"}, "`id` is a column of a file"),
        ({"file": "a.csv", "batch": 8}, "`batch` is for a function"),
        ({"file": "a.csv", "ask": f"{HERE}.lengths", "returns": "logits"}, "and not both"),
        ({}, "needs a `file` of answers or a function to `ask`"),
    ],
)
def test_a_recipe_that_names_no_teacher_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        Recipe.parse(recipe(given))


def test_a_recipe_that_came_with_data_calls_nothing() -> None:
    with pytest.raises(RecipeError, match=r"teacher\.answers\.ask: .* is code of others and was not run"):
        Recipe.parse(recipe({"ask": "somebody.answers", "returns": "logits"}), as_data=True)


def test_a_change_of_the_function_or_of_its_arguments_asks_anew() -> None:
    def known(**given: Any) -> Any:
        return Answers.model_validate({"returns": "logits", **given}).known

    assert known(ask="a.b") == known(ask={"use": "a.b"}) == known(ask="a.b", batch=7)
    assert known(ask="a.b") != known(ask={"use": "a.b", "by": 2.0})
    assert known(ask="a.b")["ask"] == {"use": "a.b"}, "a block, by which the source of what it names counts too"


def recipe(answers: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": "text_classification",
        "data": {"use": "files", "train": "train.csv", "eval": "eval.csv", "text": "sentence"},
        "teacher": {"answers": answers},
        "baseline": "somewhere",
        "student": {"shrink": {"layers": 1}},
        "distill": [{"method": "logit", "epochs": 1}],
    }


def test_only_marked_functions_are_teachers() -> None:
    marked: Callable[..., Any] = lengths
    assert getattr(marked, MARK) == "teacher"
