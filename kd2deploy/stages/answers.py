"""answers: a teacher that is no network here, by what it answered to the run's rows.

A file is read and matched to the rows, or a function of the user's own is asked about them, and the answers are
checked, by a stage of its own before anything else is done. The students are then taught from the answers as from those
of a cached teacher. Where every evaluation row is answered, the teacher is scored as all others are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.core import Row, Task
from kd2deploy.core.artifact import sha256_of
from kd2deploy.core.figures import count_of, percent
from kd2deploy.core.mapped import rows_at, values_of
from kd2deploy.core.watcher import Watcher
from kd2deploy.data.answers import AnswersIn, answers_in, matched
from kd2deploy.data.splits import Splits, lacking, splits_in
from kd2deploy.errors import DataError, Fault, RecipeError
from kd2deploy.measure.label_fit import Fit, label_doubts, other_order
from kd2deploy.recipe import Answers, Recipe
from kd2deploy.run import Stage
from kd2deploy.stages.asking import all_asked
from kd2deploy.stages.job import JUDGED, TAUGHT, Brought, Job

Array = np.ndarray[Any, Any]


def with_answers(job: Job, kind: type[Task], fields: Sequence[str]) -> Job:
    """The job with its teacher's answers, where the recipe names some. Raises DataError, RecipeError."""
    given = job.recipe.answers
    if given is None:
        return job
    file = Path(given.file) if given.file is not None else None
    needed = bool(job.recipe.distill)  # not of a bundle that is exported again: nobody learns from them
    if not needed and (file is None or not file.exists()):
        return job
    refuse_unfit(job, kind, file)
    stage = Stage(
        "answers",
        spec={
            "answers": given.known,
            "fields": names_of(job.recipe, fields),
            "task": job.task.spec(),
            "labels": list(job.splits.labels),
        },
        parents={"data": job.splits.sha256, **({"file": sha256_of(file)} if file is not None else {})},
        work=f"{__name__}.work",
        inputs={"data": str(job.place_of(job.splits)), "answers": given.model_dump(mode="json")},
    )
    done = job.run.carry_out(stage, job.watcher)
    found = done.result
    judged = done.path(JUDGED) if found["judged"] else None
    if judged is None and job.recipe.gates.min_gap_closed is not None:
        message = (
            f"compares with the teacher's score, and {given.whence} {found['unjudged']}; add them, or leave it out"
        )
        raise RecipeError([Fault("gates.min_gap_closed", message)])
    splits = replace(job.splits, warnings=(*job.splits.warnings, *found["doubts"]))
    return replace(job, splits=splits, answers=Brought(done.path(TAUGHT), done.sha256, judged, found["said"]))


def refuse_unfit(job: Job, kind: type[Task], file: Path | None) -> None:
    """RecipeError where there is no such file, or the task is not one whose answers can be brought along."""
    if file is not None and not file.is_file():
        message = f"{file} does not exist (read from {Path.cwd()}); check the path"
        raise RecipeError([Fault("teacher.answers", message)])
    if not job.splits.labels or kind.several_labels or kind.own_target:
        message = f"hold one number for each class, and the answers of {kind.name} here are of another kind"
        raise RecipeError([Fault("teacher.answers", f"{message}; name a network under `from`")])


def names_of(recipe: Recipe, fields: Sequence[str]) -> dict[str, list[str]]:
    """The names that each of the task's fields may have in the file: its own, and that in the data."""
    data = recipe.data if isinstance(recipe.data, Mapping) else {}
    return {field: list(dict.fromkeys([field, str(data.get(field, field))])) for field in fields}


def work(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """The stage's work. Raises DataError."""
    splits, labels, fields = splits_in(Path(inputs["data"])), spec["labels"], spec["fields"]
    said = Answers.model_validate(inputs["answers"])
    if said.file is not None:
        kind, asked, unjudged = read(splits, Path(said.file), said, labels, fields)
        told = f"{kind} in {Path(said.file).name}"
    else:
        asked, unjudged = all_asked(splits, said, list(fields), labels, folder, tell), ""
        told = f"{said.returns} of {said.whence}"
    for part, name in (("train", TAUGHT), ("eval", JUDGED)):
        if part == "train" or not unjudged:
            np.save(folder / name, asked[part])
    doubts = doubts_of(said, splits, asked, labels, not unjudged)
    if unjudged:
        doubts.append(f"the teacher is not scored: {said.whence} {unjudged}")
    told = f"{told}, by which it is {'not scored' if unjudged else 'scored as well'}"
    return {"judged": not unjudged, "unjudged": unjudged, "doubts": doubts, "said": told}


def read(
    splits: Splits, file: Path, said: Answers, labels: Sequence[str], fields: Mapping[str, Sequence[str]]
) -> tuple[str, dict[str, Array], str]:
    """Of a file: of which kind its numbers are, the logits of training and evaluation rows, and why the latter are not
    judged by, if they are not. Raises DataError."""
    given = AnswersIn(file, said.id, said.logits, said.probabilities, tuple(said.labels or ()))
    if given.id is None:
        refuse_unmatchable(splits.train, list(fields))
    found = answers_in(given, labels, fields)
    at = {part: matched(given, found, getattr(splits, part), list(fields)) for part in ("train", "eval")}
    unknown = np.flatnonzero(at["train"] < 0)
    if len(unknown):
        by = f"the id in column {given.id!r}" if given.id is not None else f"the same {' and '.join(fields)}"
        example = splits.train[int(unknown[0])][given.id or next(iter(fields))]
        raise DataError(
            f"{file} has no answer to {len(unknown):,} of {count_of(len(splits.train), 'training row')}: none with "
            f"{by} as {str(example)!r:.60}; answer every row that is trained on"
        )
    asked = {part: found.logits[places[places >= 0]] for part, places in at.items()}
    answered, rows = len(asked["eval"]), count_of(len(splits.eval), "evaluation row")
    return found.kind, asked, "" if answered == len(splits.eval) else f"answers {answered:,} of {rows}"


def refuse_unmatchable(rows: Sequence[Row], fields: Sequence[str]) -> None:
    """DataError for rows that cannot be told apart by what a column of a file holds."""
    for field in fields:
        if not isinstance(rows[0].get(field), str | int | float):
            raise DataError(
                f"the rows of teacher.answers cannot be matched by `{field}`, which is no text; name a column that "
                "tells the rows of both apart: `teacher: {answers: {file: ..., id: COLUMN}}`"
            )


def doubts_of(
    said: Answers, splits: Splits, asked: Mapping[str, Array], labels: Sequence[str], judged: bool
) -> list[str]:
    """What a person should know of how answers and labels fit. Raises DataError where the classes stand in another
    order, and nothing said in which."""
    known = [place for place, lacks in enumerate(lacking(splits.train)) if not lacks]
    train = fit_of(rows_at(splits.train, known), asked["train"][known])
    other = fit_of(splits.eval, asked["eval"]) if judged else train
    order = other_order(train, other, len(labels))
    if order is not None and not said.labels:
        raise DataError(
            f"{said.whence} agrees with {percent(train.agreement)} of {count_of(len(known), 'training label')}, and "
            f"with {percent(train.under(order))} if its classes were {', '.join(labels[place] for place in order)}: "
            "name their order under teacher.answers, `labels: [...]`"
        )
    return label_doubts(train, other, labels, named=False)


def fit_of(rows: Sequence[Row], logits: Array) -> Fit:
    return Fit(np.asarray(list(values_of(rows, "label")), dtype=np.int64), logits.argmax(axis=1))
