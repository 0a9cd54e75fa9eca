"""Data that a stage makes of a run's own rows and its teacher, for trainings that name it as their `data`.

Whatever makes rows is a `Maker`; the stage around it keeps them as splits with a hash of their own, whose parents are
the rows and the teacher. Students and controls read the same ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from kd2deploy.core.figures import count_of
from kd2deploy.core.mapped import having, rows_at, values_of
from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.data.prepare import with_made_rows
from kd2deploy.data.splits import Row, Splits, lacking, splits_in, write_splits
from kd2deploy.data.tables import Made
from kd2deploy.measure.accuracy import answered_in
from kd2deploy.report import ArtifactRecord
from kd2deploy.run import Stage, named
from kd2deploy.stages.job import Job, Live, Model, encoded, key_of, model_at, sampled
from kd2deploy.train.checkpoint import locate

ASKED_ROWS = 200
"""Rows without a label that a dry run asks a teacher about."""
ROWS = "splits"


@dataclass(frozen=True)
class MadeRows:
    """Training rows in place of a run's own."""

    rows: Sequence[Row]
    said: str
    """What was made, for a person."""


Maker = Callable[[Mapping[str, Any], Splits, Model, Watcher], MadeRows]
"""(options, the run's own splits, teacher, who is told) -> rows. The same of the same, to the bit."""


def with_made_data(job: Job, teacher: Model | None) -> Job:
    """The job with all data that its trainings name and a stage makes. Raises DataError."""
    if not job.to_make:
        return job
    assert teacher is not None, "a recipe that has data made names a teacher"
    stages = {key: described(job, key, made, teacher) for key, made in job.to_make.items()}
    done = job.executor.map(job.run, list(stages.values()), job.watcher)
    beside, details, records = dict(job.beside), dict(job.splits.details), list(job.records)
    for key, one in zip(job.to_make, done, strict=True):
        beside[key] = found = splits_in(one.path(ROWS))
        details |= found.details
        made_by, rows = source_of(job, key), {"rows": job.splits.sha256}
        records.append(ArtifactRecord(name_of(job, key), found.sha256, teacher.sha256, made_by, details=rows))
    splits = replace(job.splits, details=details)
    return replace(job, splits=splits, beside=beside, records=tuple(records))


def described(job: Job, key: str, made: Made, teacher: Model) -> Stage:
    return Stage(
        name_of(job, key).replace(" ", "-"),
        spec={"made": {"use": made.by, **made.options}, "task": teacher.task.spec()},
        parents={"data": job.splits.sha256, "teacher": teacher.sha256},
        work=f"{__name__}.work",
        inputs={
            "data": str(job.place_of(job.splits)),
            "teacher": teacher.to_json(),
            "name": name_of(job, key),
        },
        needs="gpu",
    )


def name_of(job: Job, key: str) -> str:
    """`data of training 1`: the first that reads it."""
    at = next(at for at, entry in enumerate(job.recipe.distill, 1) if entry.data and key_of(entry.data) == key)
    return f"data of training {at}"


def source_of(job: Job, key: str) -> str:
    """The data source's own name, as the recipe gives it."""
    block = next(entry.data for entry in job.recipe.distill if entry.data and key_of(entry.data) == key)
    return str(block if isinstance(block, str) else block["use"]).rpartition(".")[2]


def work(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    options = dict(spec["made"])
    own, make = splits_in(Path(inputs["data"])), named(options.pop("use"))
    made: MadeRows = make(options, own, Model.from_json(inputs["teacher"]), tell)
    write_splits(with_made_rows(own, made.rows, {inputs["name"]: made.said}), folder / ROWS, copies=False)
    return {"said": made.said}


def foreseen(job: Job) -> dict[str, str]:
    """What will be made, for a dry run: as its source foretells it, or asked of a few rows where the teacher comes
    fine-tuned."""
    return {
        name_of(job, key): f"{source_of(job, key)}, {made.foretold or tried(job, made)}"
        for key, made in job.to_make.items()
    }


def tried(job: Job, made: Made) -> str:
    """What a maker says of a few rows without a label, or that it must wait for the teacher."""
    free, teacher = job.splits.unlabelled, job.recipe.teacher
    assert teacher is not None
    if teacher.fine_tune is not None or teacher.source is None:
        return f"made of {count_of(len(free), 'row')} without a label, once the teacher is fine-tuned"
    few = replace(job.splits, train=sampled(free, ASKED_ROWS))
    model = model_at(locate(teacher.source), job.task)
    found: MadeRows = named(made.by)(made.options, few, model, Silent())
    return f"tried on {len(few.train):,} of {count_of(len(free), 'row')} without a label: {found.said}"


def pseudo_labelled(options: Mapping[str, Any], splits: Splits, teacher: Model, tell: Watcher) -> MadeRows:
    """The training rows, those without a label with the teacher's answer where its probability is high enough."""
    least = options["least_probability"]
    free = [place for place, lacks in enumerate(lacking(splits.train)) if lacks]
    task, labels = teacher.task, list(values_of(splits.train, "label"))
    features = encoded(task, rows_at(splits.train, free), teacher.folder)
    net = task.networks.load(teacher.folder).eval().to("cuda" if torch.cuda.is_available() else "cpu")
    asked = labelled = 0
    for places, outputs in answered_in(Live(net, task), task, features, batch=32):
        for place, label in zip(places, task.metric.sure(outputs, least), strict=True):
            if label is not None:
                labels[free[place]] = label
                labelled += 1
        asked += len(places)
        tell.advance("pseudo-labels", asked, len(free))
    said = (
        f"{labelled:,} of {count_of(len(free), 'row')} without a label were given the teacher's answer, where its "
        f"probability is {least:g} at least; how many of these are right is unknown"
    )
    return MadeRows(having(splits.train, "label", labels), said)
