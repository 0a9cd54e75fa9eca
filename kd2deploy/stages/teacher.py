"""teacher: a fine-tuned network, found or made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kd2deploy.errors import ModelError
from kd2deploy.methods.task_only import task_only
from kd2deploy.recipe import Teacher
from kd2deploy.stages.choose import chosen_for
from kd2deploy.stages.job import Job, Model, encoded, model_at, validation_score
from kd2deploy.stages.track import tracked
from kd2deploy.stages.training import finished, keep_only, watched
from kd2deploy.train.checkpoint import create, locate, with_head
from kd2deploy.train.engine import Trained, Training, distill


@dataclass(frozen=True)
class Taught:
    model: Model
    trained: Trained | None
    """How it was fine-tuned; None for a teacher that came fine-tuned."""


def teach(job: Job) -> Taught:
    """The teacher in a folder of its own. Raises ModelError, TrainError."""
    teacher = job.recipe.teacher
    source = locate(teacher.source) if teacher.source is not None else None
    if teacher.fine_tune is None:
        assert source is not None
        job.task.reader.check_inputs(source)
        job.task.at(source).networks.load(source)  # refused here, before anything else starts
        return Taught(chosen_for(job, "teacher", model_at(source, job.task)), None)
    spec = {"teacher": teacher.model_dump(mode="json"), "task": job.task.spec(), "seed": job.recipe.seeds[0]}
    parents = {"data": job.splits.sha256}
    if source is not None:
        parents["source"] = model_at(source, job.task).sha256
    stage = job.run.stage("teacher", spec, parents, lambda folder: fine_tune(job, teacher, source, folder))
    model = chosen_for(job, "teacher", model_at(stage.path("teacher"), job.task))
    return Taught(model, Trained.from_json(stage.result["trained"]))


def fine_tune(job: Job, teacher: Teacher, source: Path | None, folder: Path) -> Mapping[str, Any]:
    done = finished(folder)
    if done is not None:
        return done
    seed = job.recipe.seeds[0]
    start = folder / "start"
    start.mkdir(exist_ok=True)
    untrained(job, teacher, source, start)
    task = job.task.at(start)
    net = task.networks.load(start)
    assert teacher.fine_tune is not None
    rows = [row for row in job.splits.train if row["label"] is not None]
    if not rows:
        raise ModelError("no training row has a label, so no teacher can be fine-tuned; give one that is, under `from`")
    validation = encoded(task, job.splits.validation, start)
    with tracked(job, folder, "task_only", teacher.fine_tune) as told:
        trained = distill(
            Training(task, net, task_only(), encoded(task, rows, start), teacher.fine_tune, seed),
            folder / "training",
            score=lambda net: validation_score(net, task, validation, job.splits.validation),
            on_progress=watched(job.watcher, "training"),
            on_figures=told,
        )
    result = {"trained": trained.to_json(), "settings": asdict(teacher.fine_tune)}
    return keep_only(folder, trained.student, start, "teacher", result)


def untrained(job: Job, teacher: Teacher, source: Path | None, out: Path) -> None:
    """The network that fine-tuning starts from: a pretrained body with the task's head, or random weights."""
    seed = job.recipe.seeds[0]
    if source is not None:
        with_head(source, out, job.task, seed)
        return
    assert teacher.create is not None
    create(teacher.create, out, job.task, seed)
