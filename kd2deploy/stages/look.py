"""look: what can be known of rows and teacher before anything is trained, told as warnings.

Rows that no training reads at its start are read through, so that none of them ends a run hours later. How much of the
texts is cut off or unknown, and whether the teacher's answers fit the labels, is asked of a few hundred rows.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from kd2deploy.core import Row, Task, build_task
from kd2deploy.core.watcher import Watcher
from kd2deploy.data.splits import Splits, splits_in
from kd2deploy.errors import DataError
from kd2deploy.measure.accuracy import score_open
from kd2deploy.measure.label_fit import Fit, label_doubts
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.labels import labels_of
from kd2deploy.recipe import Teacher
from kd2deploy.run import Stage
from kd2deploy.stages.fit import started_origin
from kd2deploy.stages.job import Job, Live, encoded, model_at, sampled
from kd2deploy.train.checkpoint import locate

COUNTED_ROWS = 1000
"""Rows of each split whose reading is counted."""
ASKED_ROWS = 200
"""Rows of each split that the teacher is asked about."""
CHUNK = 256


def look(job: Job) -> Job:
    """The job with what was found among its data's details and warnings. Raises DataError, ModelError."""
    recipe = job.recipe
    named = {
        "teacher": recipe.teacher_network.source if recipe.teacher_network is not None else None,
        "baseline": recipe.baseline,
        "student": recipe.student.source,
    }
    folders = {who: locate(source) for who, source in named.items() if source is not None}
    stage = Stage(
        "look",
        spec={
            "teacher": recipe.teacher_network.model_dump(mode="json") if recipe.teacher_network is not None else None,
            "student": recipe.student.source,
            "task": job.task.spec(),
        },
        parents={
            "data": job.splits.sha256,
            **{who: model_at(folder, job.task).sha256 for who, folder in folders.items()},
        },
        work=f"{__name__}.work",
        inputs={
            "data": str(job.place_of(job.splits)),
            "seed": recipe.seeds[0],
            **{who: str(folder) for who, folder in folders.items()},
        },
    )
    found = job.run.carry_out(stage, job.watcher).result
    warnings = (*job.splits.warnings, *found["warnings"])
    return replace(job, splits=replace(job.splits, warnings=warnings, details=found["details"]))


def work(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    scratch = folder / "teacher"
    shutil.rmtree(scratch, ignore_errors=True)  # a kill may have left one
    whole, splits = build_task(spec["task"]), splits_in(Path(inputs["data"]))
    given = Teacher.model_validate(spec["teacher"]) if spec["teacher"] else None
    source = inputs.get("baseline") if given is None else inputs.get("teacher")
    teacher = started_origin(whole, given, Path(source) if source else None, inputs["seed"], scratch)
    task = whole.at(teacher)
    read = {"validation": splits.validation, "evaluation": splits.eval, "unlabelled": splits.unlabelled}
    for name, rows in read.items():
        read_through(task, rows, teacher, name)
    readers = {"": teacher}
    if "student" in inputs and not whole.reader.reads_alike(Path(inputs["student"]), teacher):
        readers["student, "] = Path(inputs["student"])
    details, warnings = readings(whole, splits, readers)
    if given is None or given.fine_tune is None:
        warnings += answers_and_labels(task, splits, teacher, "baseline" if given is None else "teacher")
    shutil.rmtree(scratch, ignore_errors=True)
    return {"details": details, "warnings": warnings}


def read_through(task: Task, rows: Sequence[Row], folder: Path, name: str) -> None:
    """Encode the rows and keep nothing. Raises DataError with the split's name."""
    try:
        for at in range(0, len(rows), CHUNK):
            task.reader.encode(rows[at : at + CHUNK], folder)
    except DataError as error:
        raise DataError(f"{name} rows: {error}") from error


def readings(task: Task, splits: Splits, readers: Mapping[str, Path]) -> tuple[dict[str, str], list[str]]:
    """How the teacher reads the rows, and the student where it reads them otherwise: figures, and doubts."""
    details: dict[str, str] = {}
    warnings: list[str] = []
    for who, folder in readers.items():
        for name, rows in (("evaluation", splits.eval), ("training", splits.train)):
            found = task.at(folder).reader.reading(sampled(rows, COUNTED_ROWS), folder)
            details |= {f"{who}{name}: {figure}": value for figure, value in found.figures.items()}
            warnings += [f"{who}{name} rows: {doubt}" for doubt in found.doubts]
    return details, warnings


def answers_and_labels(task: Task, splits: Splits, network: Path, who: Literal["teacher", "baseline"]) -> list[str]:
    """Doubts whether the answers of the teacher, or of the baseline where there is none, fit the labels; asked where a
    row has one class of several."""
    net = task.networks.load(network)
    fits = []
    for rows in (splits.labelled, splits.eval):
        asked = sampled(rows, ASKED_ROWS)
        scores = score_open(Live(net, task), task, encoded(task, asked, network), asked).scores
        if scores.answered is None:
            return []
        fits.append(Fit.of(scores))
    names = splits.labels
    own = labels_of(read_config(network))
    return label_doubts(fits[0], fits[1], names, named=own == list(names), who=who)
