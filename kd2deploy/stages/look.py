"""look: what can be known of rows and teacher before anything is trained, told as warnings.

Rows that no training reads at its start are read through, so that none of them ends a run hours later. How much of the
texts is cut off or unknown, and whether the teacher's answers fit the labels, is asked of a few hundred rows.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from kd2deploy.core import Row, Task
from kd2deploy.errors import DataError
from kd2deploy.measure.accuracy import score_open
from kd2deploy.measure.label_fit import Fit, label_doubts
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.labels import labels_of
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
    spec = {
        "teacher": recipe.teacher.model_dump(mode="json") if recipe.teacher is not None else None,
        "student": recipe.student.source,
        "task": job.task.spec(),
    }
    sources = {
        "teacher": recipe.teacher.source if recipe.teacher is not None else None,
        "baseline": recipe.baseline,
        "student": recipe.student.source,
    }
    parents = {who: model_at(locate(source), job.task).sha256 for who, source in sources.items() if source is not None}
    found = job.run.stage("look", spec, {"data": job.splits.sha256, **parents}, lambda folder: work(job, folder)).result
    warnings = (*job.splits.warnings, *found["warnings"])
    return replace(job, splits=replace(job.splits, warnings=warnings, details=found["details"]))


def work(job: Job, folder: Path) -> Mapping[str, Any]:
    scratch = folder / "teacher"
    shutil.rmtree(scratch, ignore_errors=True)  # a kill may have left one
    teacher = started_origin(job, scratch)
    task, splits = job.task.at(teacher), job.splits
    free = [row for row in splits.train if row.get("label", 0) is None]
    for name, rows in {"validation": splits.validation, "evaluation": splits.eval, "unlabelled": free}.items():
        read_through(task, rows, teacher, name)
    details, warnings = readings(job, teacher)
    if job.recipe.teacher is None or job.recipe.teacher.fine_tune is None:
        warnings += answers_and_labels(job, teacher)
    shutil.rmtree(scratch, ignore_errors=True)
    return {"details": details, "warnings": warnings}


def read_through(task: Task, rows: Sequence[Row], folder: Path, name: str) -> None:
    """Encode the rows and keep nothing. Raises DataError with the split's name."""
    try:
        for at in range(0, len(rows), CHUNK):
            task.reader.encode(rows[at : at + CHUNK], folder)
    except DataError as error:
        raise DataError(f"{name} rows: {error}") from error


def readings(job: Job, teacher: Path) -> tuple[dict[str, str], list[str]]:
    """How the teacher reads the rows, and the student where it reads them otherwise: figures, and doubts."""
    details: dict[str, str] = {}
    warnings: list[str] = []
    for who, folder in readers(job, teacher):
        for name, rows in (("evaluation", job.splits.eval), ("training", job.splits.train)):
            found = job.task.at(folder).reader.reading(sampled(rows, COUNTED_ROWS), folder)
            details |= {f"{who}{name}: {figure}": value for figure, value in found.figures.items()}
            warnings += [f"{who}{name} rows: {doubt}" for doubt in found.doubts]
    return details, warnings


def readers(job: Job, teacher: Path) -> Iterator[tuple[str, Path]]:
    yield "", teacher
    if job.recipe.student.source is not None:
        student = locate(job.recipe.student.source)
        if not job.task.reader.reads_alike(student, teacher):
            yield "student, ", student


def answers_and_labels(job: Job, teacher: Path) -> list[str]:
    """Doubts whether the answers of the teacher, or of the baseline where there is none, fit the labels; asked where a
    row has one class of several."""
    task = job.task.at(teacher)
    net = task.networks.load(teacher)
    fits = []
    for rows in (job.splits.labelled, job.splits.eval):
        asked = sampled(rows, ASKED_ROWS)
        scores = score_open(Live(net, task), task, encoded(task, asked, teacher), asked).scores
        if scores.answered is None:
            return []
        fits.append(Fit.of(scores))
    names = job.splits.labels
    own = labels_of(read_config(teacher))
    who: Literal["teacher", "baseline"] = "teacher" if job.recipe.teacher is not None else "baseline"
    return label_doubts(fits[0], fits[1], names, named=own == list(names), who=who)
