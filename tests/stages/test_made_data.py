"""Data that a stage makes of a run's rows and its teacher: pseudo-labels, and a maker of one's own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipes.small_run import recipe

from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.data.splits import Splits, read_splits
from kd2deploy.data.tables import Made
from kd2deploy.errors import DataError, RecipeError
from kd2deploy.flows.compress import compress
from kd2deploy.measure.accuracy import outputs_of
from kd2deploy.recipe import Recipe
from kd2deploy.report import ArtifactRecord
from kd2deploy.run import Run
from kd2deploy.stages.job import Job, Live, Model, encoded, model_at
from kd2deploy.stages.made_data import MadeRows, foreseen, pseudo_labelled, with_made_data
from kd2deploy.stages.prepare import begun
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.tasks.text_multilabel import TextMultilabel

LEAST = 0.505
"""The encoder's head is random, so that its answers are hardly ever sure."""
PSEUDO = {"use": "pseudo_labels", "least_probability": LEAST}


def doubled() -> Made:
    """A data source of one's own: the run's rows, twice."""
    return Made("stages.test_made_data.twice", {"times": 2})


def twice(options: Mapping[str, Any], splits: Splits, teacher: Model, tell: Watcher) -> MadeRows:
    return MadeRows(splits.train * options["times"], "all rows twice")


def training(data: Any, **changes: Any) -> dict[str, Any]:
    return {"method": "logit", "epochs": 2, "learning_rate": 5e-3, "batch": 16, "data": data, **changes}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made_data")


def job_of(folder: Path, run: Run, **changes: Any) -> Job:
    given = recipe(folder)
    teacher = {"from": str(folder / "encoder")}
    changes = {"teacher": teacher, "limit_labels": 40, "distill": [training(PSEUDO)], **changes}
    return begun(Recipe.parse({**given, **changes}), run, Silent())


def test_rows_without_a_label_get_the_teachers_answer_where_it_is_sure(folder: Path) -> None:
    with Run(folder / "direct").locked() as run:
        job = job_of(folder, run)
    teacher = model_at(folder / "encoder", job.task)
    own = job.splits.train
    free = [place for place, row in enumerate(own) if row["label"] is None]
    made = pseudo_labelled({"least_probability": LEAST}, job.splits, teacher, Silent())
    rows = [own[place] for place in free]
    outputs = outputs_of(
        Live(job.task.networks.load(teacher.folder).eval(), teacher.task),
        teacher.task,
        encoded(teacher.task, rows, teacher.folder),
    )
    shares = np.exp(outputs["logits"].astype(np.float64))
    shares /= shares.sum(-1, keepdims=True)
    wanted = [int(one.argmax()) if one.max() >= LEAST else None for one in shares]
    assert [made.rows[place]["label"] for place in free] == wanted
    assert [row for place, row in enumerate(made.rows) if place not in free] == job.splits.labelled
    got = sum(label is not None for label in wanted)
    assert 0 < got < len(free)
    assert made.said.startswith(f"{got} of {len(free)} rows without a label were given the teacher's answer")
    assert made.said.endswith("how many of these are right is unknown")
    assert all(row["label"] is None for row in (own[place] for place in free)), "the run's own rows stay as they are"


def test_a_stage_keeps_what_was_made_with_a_hash_and_its_lineage_and_is_reused(folder: Path) -> None:
    with Run(folder / "stage").locked() as run:
        job = job_of(folder, run)
        before = job.splits_for(PSEUDO)
        teacher = model_at(folder / "encoder", job.task)
        done, again = with_made_data(job, teacher), with_made_data(job, teacher)
    found = done.splits_for(PSEUDO)
    assert before is job.splits, "what stands for it until it is made"
    assert found.sha256 != job.splits.sha256
    assert (found.validation, found.eval) == (job.splits.validation, job.splits.eval)
    assert done.splits.sha256 == job.splits.sha256
    (said,) = found.details.values()
    assert done.splits.details == {"data of training 1": said}
    assert done.records == again.records
    (made,) = done.records
    assert made == ArtifactRecord(
        "data of training 1", found.sha256, teacher.sha256, "pseudo_labels", details={"rows": job.splits.sha256}
    )
    assert [(stage.name, stage.reused) for stage in run.done] == [
        ("data-of-training-1", False),
        ("data-of-training-1", True),
    ]
    assert read_splits(run.done[0].path("splits"), copies=False) == found


def test_a_dry_run_asks_a_teacher_that_comes_fine_tuned_and_names_the_rest(folder: Path) -> None:
    with Run(folder / "dry").locked() as run:
        job = job_of(folder, run)
        free = len(job.splits.train) - len(job.splits.labelled)
        (said,) = foreseen(job).values()
        assert said.startswith(f"pseudo_labels, tried on {free} of {free} rows without a label: ")
        assert f"of {free} rows without a label were given the teacher's answer" in said
        tuned = {"from": str(folder / "encoder"), "fine_tune": {"epochs": 1}}
        assert foreseen(job_of(folder, run, teacher=tuned)) == {
            "data of training 1": f"pseudo_labels, made of {free} rows without a label, once the teacher is fine-tuned"
        }


def test_a_maker_of_ones_own_is_named_by_a_source_of_ones_own(folder: Path) -> None:
    use = {"use": "stages.test_made_data.doubled"}
    with Run(folder / "own").locked() as run:
        job = job_of(folder, run, distill=[training(use), training(use), training(None)])
        found = with_made_data(job, model_at(folder / "encoder", job.task))
    assert len(run.done) == 1, "two trainings that name the same data share it"
    assert len(found.splits_for(use).train) == 2 * len(job.splits.train)
    assert [row["index"] for row in found.splits_for(use).train] == list(range(2 * len(job.splits.train)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distill": [training(None)], "data": PSEUDO}, r"data: pseudo_labels makes new rows of a run's own"),
        ({"distill": [training({"use": "pseudo_labels", "least_probability": 1.5})]}, "must be above 0 and at most 1"),
        ({"distill": [training({"use": "data_free"})]}, "data_free makes inputs of classes out of noise, and text_"),
        (
            {"baseline": "BASE", "teacher": None, "distill": [training(PSEUDO, method="task_only")]},
            r"distill\[0\].data: pseudo_labels asks the teacher",
        ),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_starts(
    folder: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    if "baseline" in changes:
        changes = {**changes, "baseline": str(folder / "encoder")}
    with Run(tmp_path).locked() as run, pytest.raises((RecipeError, DataError), match=words):
        job_of(folder, run, **changes)


def test_numbers_have_no_probability(tmp_path: Path) -> None:
    given = recipe(tmp_path)
    for name in ("train.csv", "eval.csv"):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace(",neg", ",0.5").replace(",pos", ",1.5"))
    task = {**given["task"], "labels": []}
    with (
        Run(tmp_path / "run").locked() as run,
        pytest.raises(RecipeError, match="text_classification answers numbers here"),
    ):
        job_of(tmp_path, run, task=task, limit_labels=None)


def test_how_sure_an_answer_is_by_task() -> None:
    one = TextClassification(labels=("a", "b")).metric
    logits = np.log(np.array([[0.9, 0.1], [0.4, 0.6], [0.05, 0.95]]))
    assert one.sure({"logits": logits}, 0.9 - 1e-9) == [0, None, 1]
    several = TextMultilabel(labels=("a", "b")).metric
    shares = np.array([[0.95, 0.02], [0.95, 0.5], [0.04, 0.08]])
    assert several.sure({"logits": np.log(shares / (1 - shares))}, 0.9) == [[1, 0], None, [0, 0]]
    assert one.tells_probability
    assert several.tells_probability
    assert not TextClassification(labels=()).metric.tells_probability


@pytest.mark.recipe
def test_student_and_control_train_on_the_same_pseudo_labelled_rows(folder: Path) -> None:
    given = recipe(folder, limit_labels=40, distill=[training(PSEUDO)])
    (found,) = compress(Recipe.parse(given), folder / "run", until="distill")
    (made,) = (folder / "run" / "stages").glob("data-of-training-1-*")
    rows = read_splits(made / "splits", copies=False)
    labelled, before = len(rows.labelled), 40 - len(rows.validation)
    assert labelled > before
    parents, samples = {}, {}
    for role in ("student", "control"):
        (record,) = (folder / "run" / "stages").glob(f"{role}-seed0-*/stage.json")
        stage = json.loads(record.read_text())
        parents[role] = stage["parents"]["data of 1"]
        (trained,) = stage["result"]["trained"]
        samples[role] = round(trained["samples_per_second"] * trained["seconds"])
    assert parents == {"student": rows.sha256, "control": rows.sha256}
    assert samples["student"] == 2 * len(rows.train)
    assert samples["control"] == pytest.approx(2 * len(rows.train), abs=16), "as many steps, on the rows with a label"
    assert f"{labelled - before} of {len(rows.train) - before} rows without a label" in str(
        found.report.data.details["data of training 1"]
    )  # type: ignore[union-attr]
    assert "data-of-training-1" in [stage.name for stage in found.report.stages]
