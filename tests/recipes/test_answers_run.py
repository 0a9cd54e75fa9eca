"""A teacher that is no network here: students learn from a file of its answers, and it is scored by them."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from recipes.small_run import recipe
from recipes.words import GOOD
from tiny_models import save_encoder

from kd2deploy import usable_as
from kd2deploy.cli.overview import overview
from kd2deploy.errors import DataError, RecipeError
from kd2deploy.flows.compress import compress
from kd2deploy.recipe import Recipe

asked: list[int] = []
PATIENCE = 150


@usable_as("teacher")
def counts_words(rows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """The same who as in a file, asked."""
    if sum(asked) > PATIENCE:
        raise ConnectionError("too many questions")
    asked.append(len(rows))
    shares = [sum(word in GOOD for word in str(row["text"]).split()) / 2 for row in rows]
    return [[1 - share, share] for share in shares]


def answered(folder: Path, answers: Any = None, **changes: Any) -> dict[str, Any]:
    """The small run with a baseline, and the answers of who counts words for a teacher."""
    baseline = save_encoder(folder / "baseline", labels=["neg", "pos"], layers=2, hidden=16)
    spec = recipe(folder, baseline=str(baseline), student={"shrink": {"layers": 1}}, **changes)
    spec["distill"] = changes.get("distill") or [{"method": "logit", "epochs": 16, "learning_rate": 5e-3, "batch": 16}]
    spec["teacher"] = {"answers": str(folder / "answers.parquet") if answers is None else answers}
    return spec


def write_answers(folder: Path, *splits: str, leave_out: int = 0, turned: bool = False) -> None:
    lines = [(folder / f"{split}.csv").read_text().splitlines() for split in splits]
    texts = [row["sentence"] for found in lines for row in csv.DictReader(found)]
    shares = [sum(word in GOOD for word in text.split()) / 2 for text in texts]
    found = [[share, 1 - share] if turned else [1 - share, share] for share in shares]
    table = pyarrow.table({"sentence": texts[leave_out:], "probabilities": found[leave_out:]})
    pyarrow.parquet.write_table(table, folder / "answers.parquet")


@pytest.mark.recipe
def test_students_learn_from_answers_and_the_teacher_is_scored_and_never_timed(tmp_path: Path) -> None:
    spec = answered(tmp_path, gates={"min_gap_closed": 0.01})
    write_answers(tmp_path, "train", "eval")
    (found,) = compress(Recipe.parse(spec), tmp_path / "run")
    (teacher,) = [one for one in found.report.contenders if one.role == "teacher"]
    assert teacher.metric is not None
    assert teacher.metric.value == 1.0
    assert (teacher.timing, teacher.size_mb, teacher.parameters) == (None, None, None)
    assert found.report.distillation is not None
    assert found.report.distillation.teacher == 1.0
    assert {one.baseline for one in found.report.speedups} == {"eager", "same_runtime"}
    assert "probabilities in answers.parquet" in str(found.report.data.details["the teacher"])
    (record,) = (tmp_path / "run" / "stages").glob("student-seed0-*/stage.json")
    said = json.loads(record.read_text())
    assert set(said["parents"]) == {"data", "start", "teacher's answers"}
    student = next(one for one in found.report.contenders if one.role == "student")
    assert student.metric is not None
    assert student.metric.value is not None
    assert student.metric.value > 0.8, "which it could not without having learnt from them"


@pytest.mark.recipe
def test_a_function_is_asked_once_about_each_row_also_where_it_failed_between(tmp_path: Path) -> None:
    spec = answered(tmp_path, {"ask": f"{__name__}.counts_words", "returns": "probabilities"})
    recipe = Recipe.parse(spec)
    foretold = overview(recipe).stages
    assert foretold["teacher"].endswith("counts_words is asked about every row, 32 at a time")
    assert foretold["prepare"].startswith("answered by code of yours, which a dry run does not call")
    assert not asked
    with pytest.raises(DataError, match=r"failed at evaluation rows 33 to 64 \(ConnectionError: too many questions\)"):
        compress(recipe, tmp_path / "run", until="distill")
    before = sum(asked)
    asked.clear()
    (found,) = compress(recipe, tmp_path / "run")
    assert before + sum(asked) == 144 + 120
    (teacher,) = [one for one in found.report.contenders if one.role == "teacher"]
    assert teacher.metric is not None
    assert (teacher.metric.value, teacher.timing) == (1.0, None)
    assert "probabilities of " in str(found.report.data.details["the teacher"])


def test_answers_to_other_rows_or_of_other_classes_end_the_run_before_it_begins(tmp_path: Path) -> None:
    spec = answered(tmp_path)
    write_answers(tmp_path, "train", leave_out=3)
    with pytest.raises(DataError, match=r"has no answer to \d of 144 training rows: none with the same text as '"):
        compress(Recipe.parse(spec), tmp_path / "run", until="distill")
    write_answers(tmp_path, "train", turned=True)
    with pytest.raises(DataError, match=r"100 % if its classes were pos, neg: name their order under teacher.answers"):
        compress(Recipe.parse(spec), tmp_path / "run", until="distill")
    assert not list((tmp_path / "run" / "stages").glob("[!.]*")), "no stage was done"


def test_what_needs_the_teachers_network_is_refused_by_name(tmp_path: Path) -> None:
    methods = ["logit", "hidden", "mate_kd", "crd"]
    spec = answered(tmp_path, distill=[{"method": one, "epochs": 1} for one in methods])
    spec["distill"][0]["data"] = spec["data"]
    del spec["baseline"]
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(spec)
    told = {fault.path: fault.message for fault in caught.value.faults}
    assert "name under `baseline` what speed is compared with" in told.pop("teacher.answers")
    assert "leave it out" in told.pop("distill[0].data")
    assert told["distill[1].method"].startswith("hidden reads the teacher's hidden, and teacher.answers has no network")
    assert told["distill[2].method"].startswith("mate_kd asks the teacher about other rows")
    assert told["distill[3].method"].startswith("crd reads the teacher's embedding")
    assert len(told) == 3


def test_a_gap_is_not_held_to_a_limit_where_the_teacher_cannot_be_scored(tmp_path: Path) -> None:
    spec = answered(tmp_path, gates={"min_gap_closed": 0.5})
    write_answers(tmp_path, "train")
    with pytest.raises(
        RecipeError, match=r"min_gap_closed: compares with the teacher's score.* of 120 evaluation rows"
    ):
        compress(Recipe.parse(spec), tmp_path / "run", until="distill")
