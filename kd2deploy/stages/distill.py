"""distill: the student learns by the recipe's methods; the control, as long and without a teacher."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from kd2deploy.core import Method
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.methods.task_only import task_only
from kd2deploy.recipe import build_method
from kd2deploy.stages.job import Job, Model, encoded, model_at, validation_score
from kd2deploy.stages.training import keep_only, watched
from kd2deploy.train.engine import Trained, distill
from kd2deploy.train.generator import masked_lms
from kd2deploy.train.teacher_cache import TeacherCache, unfit

Role = Literal["student", "control"]


@dataclass(frozen=True)
class Distilled:
    """One trained student."""

    role: Role
    seed: int
    model: Model
    trained: tuple[Trained, ...]
    layer_maps: Mapping[str, list[list[int]]]
    """Which teacher layer each student layer learned from, by term, where a term compares layers."""
    cached: bool

    @property
    def score(self) -> float:
        """On the validation rows."""
        return self.trained[-1].score or 0.0


def train(job: Job, role: Role, seed: int, start: Model, teacher: Model) -> Distilled:
    """Train one student through all of the recipe's trainings, or its control. Raises TrainError, RecipeError."""
    entries = [{"method": entry.method, "settings": asdict(entry.settings)} for entry in job.recipe.distill]
    if role == "control":
        entries = [{**entry, "method": "task_only"} for entry in entries]
    spec = {"trainings": entries, "seed": seed, "task": job.task.spec(), "cache": job.recipe.teacher_cache}
    parents = {"data": job.splits.sha256, "start": start.sha256}
    if role == "student":
        parents["teacher"] = teacher.sha256
    name = f"{role}-seed{seed}"
    stage = job.run.stage(name, spec, parents, lambda folder: work(job, role, seed, start, teacher, folder))
    return Distilled(
        role,
        seed,
        model_at(stage.path(role), job.task),
        tuple(Trained.from_json(one) for one in stage.result["trained"]),
        stage.result["layer_maps"],
        stage.result["cached"],
    )


def work(job: Job, role: Role, seed: int, start: Model, teacher: Model, folder: Path) -> Mapping[str, Any]:
    task = start.task
    student = task.load(start.folder)
    features = encoded(task, job.splits.train, start.folder, teacher.folder)
    validation = encoded(task, job.splits.validation, start.folder)
    trainings, layer_maps, cached = [], {}, False
    last: Path | None = None
    for at, entry in enumerate(job.recipe.distill):
        method = build_method(entry.method, f"distill[{at}].method") if role == "student" else task_only()
        needs_teacher = "teacher" in method.needs
        net = teacher.task.load(teacher.folder) if needs_teacher else None
        cache = cache_for(job, method, net, teacher, features, at, entry.settings.epochs) if net is not None else None
        cached = cached or cache is not None
        generator = folder / f"generator-{at}.safetensors"
        try:
            trained = distill(
                task,
                student,
                method,
                teacher=net,
                features=features,
                settings=entry.settings,
                folder=folder / f"training-{at}",
                seed=seed,
                score=lambda net: validation_score(net, task, validation, job.splits.validation),
                cache=cache,
                masked_lm=None
                if net is None
                else masked_lms(net, teacher.folder, task, features, cache=generator, seed=seed),
                on_progress=watched(job.watcher, "training" if len(job.recipe.distill) == 1 else f"training {at + 1}"),
            )
        except ValueError as error:
            raise RecipeError([Fault(f"distill[{at}].method", str(error))]) from error
        trainings.append(trained)
        layer_maps.update(maps_of(method))
        last = trained.student
    assert last is not None
    keep_only(folder, last, start.folder, role)
    return {"trained": [one.to_json() for one in trainings], "layer_maps": layer_maps, "cached": cached}


def cache_for(
    job: Job, method: Method, net: Any, teacher: Model, features: Any, at: int, epochs: float
) -> TeacherCache | None:
    """The teacher's answers to every row, where the method reads nothing else of it and more than one epoch is run."""
    choice = job.recipe.teacher_cache
    if choice == "off" or (choice == "auto" and epochs <= 1):
        return None
    reason = unfit(method)
    if reason is not None:
        if choice == "on":
            raise RecipeError(
                [Fault("teacher_cache", f"cannot be on for distill[{at}]: {reason}; set it to auto or off")]
            )
        return None
    return TeacherCache.open_or_fill(
        job.run.folder / "cache",
        job.task,
        net,
        features,
        teacher_hash=teacher.sha256,
        on_progress=lambda done, total: job.watcher.advance("teacher cache", done, total),
    )


def maps_of(method: Method) -> dict[str, list[list[int]]]:
    """The layer maps that terms resolved when they were bound."""
    found = {}
    for name, weighted in method.weighted.items():
        pairs = getattr(weighted.term, "layer_map", None)
        if pairs:
            found[name] = [[int(one), int(other)] for one, other in pairs]
    return found


def best(students: list[Distilled]) -> Distilled:
    """The one that is deployed: the best by validation score, the first of equals."""
    return max(students, key=lambda student: student.score)


def forget_cache(run: Path) -> None:
    """Drop the teacher's cached answers; they are made again when a training needs them."""
    shutil.rmtree(run / "cache", ignore_errors=True)
