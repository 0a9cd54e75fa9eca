"""distill: the student learns by the recipe's methods; the control, as long and without a teacher."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from kd2deploy.core import Features, Method, Row, Selection, Task
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.recipe import Distill, build_method
from kd2deploy.stages.budget import epochs_for, steps_of
from kd2deploy.stages.choose import chosen_for
from kd2deploy.stages.job import Job, Model, encoded, model_at, validation_score
from kd2deploy.stages.track import tracked
from kd2deploy.stages.training import finished, keep_only, watched
from kd2deploy.train.engine import Trained, Training, distill
from kd2deploy.train.generator import STEPS, MaskedLms
from kd2deploy.train.settings import Settings
from kd2deploy.train.teacher_cache import TeacherCache, unfit

Role = Literal["student", "control"]
CACHE, GENERATOR = "teacher cache", "generator"
LAYOUT = 3
"""Version of what the stage's record holds and of what methods do by default; part of its specification, so that a
student of another version is never taken for this one's."""


@dataclass(frozen=True)
class Distilled:
    """One trained student."""

    role: Role
    seed: int
    model: Model
    trained: tuple[Trained, ...]
    layer_maps: Mapping[str, list[list[int]]]
    """Which teacher layer each student layer learned from, by term, where a term compares layers."""
    generator: str
    """Which masked language model wrote text, and for a derived one how long it was trained; empty without one."""
    setup: Mapping[str, float]
    """Seconds before the first step, by what took them: what this training would have had to spend alone, also where it
    found the teacher's cache or a generator made already."""

    @property
    def cached(self) -> bool:
        """Whether the teacher's answers were read from a cache rather than made by running it."""
        return CACHE in self.setup

    @property
    def score(self) -> float:
        """On the validation rows."""
        return self.trained[-1].score or 0.0


def train(job: Job, role: Role, seed: int, start: Model, teacher: Model) -> Distilled:
    """Train one student through all of the recipe's trainings, or its control. Raises TrainError, RecipeError."""
    entries = job.recipe.distill
    if role == "control":
        entries = [Distill(method="task_only", settings=entry.settings) for entry in entries]
    return train_by(job, role, role, entries, seed, start, teacher)


def train_by(
    job: Job, name: str, role: Role, entries: Sequence[Distill], seed: int, start: Model, teacher: Model
) -> Distilled:
    """Train one student through these trainings, as the stage `<name>-seed<seed>`. Raises TrainError, RecipeError."""
    trainings = [{"method": entry.method, "settings": asdict(entry.settings)} for entry in entries]
    spec = {
        "trainings": trainings,
        "seed": seed,
        "task": job.task.spec(),
        "cache": job.recipe.teacher_cache,
        "layout": LAYOUT,
    }
    parents = {"data": job.splits.sha256, "start": start.sha256}
    if any("teacher" in build_method(entry.method).needs for entry in entries):
        parents["teacher"] = teacher.sha256
    stage = job.run.stage(
        f"{name}-seed{seed}", spec, parents, lambda folder: work(job, role, entries, seed, start, teacher, folder)
    )
    return Distilled(
        role,
        seed,
        chosen_for(job, f"{name}-seed{seed}", model_at(stage.path(role), job.task)),
        tuple(Trained.from_json(one) for one in stage.result["trained"]),
        stage.result["layer_maps"],
        stage.result["generator"],
        stage.result["setup"],
    )


def work(
    job: Job, role: Role, entries: Sequence[Distill], seed: int, start: Model, teacher: Model, folder: Path
) -> Mapping[str, Any]:
    done = finished(folder)
    if done is not None:
        return done
    task = start.task
    student = task.networks.load(start.folder)
    everything = encoded(task, job.splits.train, start.folder, teacher.folder)
    validation = encoded(task, job.splits.validation, start.folder)
    trainings: list[Trained] = []
    layer_maps: dict[str, list[list[int]]] = {}
    setup: dict[str, float] = {}
    generators: dict[str, float] = {}
    last: Path | None = None
    for at, entry in enumerate(entries):
        method = build_method(entry.method, f"distill[{at}].method")
        needs_teacher = "teacher" in method.needs
        features, settings = everything, entry.settings
        if not needs_teacher:
            features, settings = labelled(job.splits.train, features, settings)
        net = teacher.task.networks.load(teacher.folder) if needs_teacher else None
        cache = cache_for(job, method, net, teacher, features, settings.epochs) if net is not None else None
        if cache is not None:
            setup[CACHE] = cache.seconds
        written = None if net is None else generators_of(job, teacher, net, task, features, seed)
        name = "training" if len(entries) == 1 else f"training {at + 1}"
        try:
            with tracked(job, folder, entry.method, settings, name if len(entries) > 1 else "") as told:
                trained = distill(
                    Training(task, student, method, features, settings, seed, net, cache, written),
                    folder / f"training-{at}",
                    score=lambda net: validation_score(net, task, validation, job.splits.validation),
                    on_progress=watched(job.watcher, name),
                    on_figures=told,
                )
        except ValueError as error:
            raise RecipeError([Fault(f"distill[{at}].method", str(error))]) from error
        trainings.append(trained)
        which = f" of training {at + 1}" if len(entries) > 1 else ""
        layer_maps |= {term + which: pairs for term, pairs in maps_of(method).items()}
        if written is not None:
            generators |= written.given
        last = trained.student
    assert last is not None
    if any(generators.values()):
        setup[GENERATOR] = sum(generators.values())
    result = {
        "trained": [one.to_json() for one in trainings],
        "layer_maps": layer_maps,
        "generator": ", ".join(generators),
        "setup": setup,
    }
    return keep_only(folder, last, start.folder, role, result)


def labelled(
    rows: Sequence[Row], features: Sequence[Features], settings: Settings
) -> tuple[Sequence[Features], Settings]:
    """What a training without a teacher gets: the labelled rows alone, for as many optimizer steps.

    An unlabelled row teaches it nothing, and batches of few labels would make it a weak control.
    """
    kept = [place for place, row in enumerate(rows) if not unlabelled(row)]
    if len(kept) == len(features):
        return features, settings
    return Selection(features, kept), replace(
        settings, epochs=epochs_for(steps_of(settings, len(rows)), settings, len(kept))
    )


def unlabelled(row: Row) -> bool:
    return "label" in row and row["label"] is None


def generators_of(
    job: Job, teacher: Model, net: nn.Module, task: Task, features: Sequence[Features], seed: int
) -> MaskedLms:
    """Generators for this teacher. A derived one depends on teacher, rows, task and seed alone, so methods share it."""
    made_of = f"{teacher.sha256} {job.splits.sha256} {job.task.spec()} {seed} {STEPS}"
    key = hashlib.sha256(made_of.encode()).hexdigest()
    folder = job.run.folder / "cache"
    folder.mkdir(exist_ok=True)
    kept = folder / f"generator-{key[:16]}.safetensors"
    return MaskedLms(net, teacher.folder, task, features, cache=kept, seed=seed)


def cache_for(
    job: Job, method: Method, net: nn.Module, teacher: Model, features: Sequence[Features], epochs: float
) -> TeacherCache | None:
    """The teacher's answers to every row, where the method reads nothing else of it and more than one epoch is run."""
    choice = job.recipe.teacher_cache
    if choice == "off" or (choice == "auto" and epochs <= 1):
        return None
    reason = unfit(method)
    if reason is not None:
        assert choice == "auto", reason  # `cache_fault` refused it before
        return None
    net.to("cuda" if torch.cuda.is_available() else "cpu")
    return TeacherCache.open_or_fill(
        job.run.folder / "cache",
        job.task,
        net,
        features,
        teacher_hash=teacher.sha256,
        on_progress=lambda done, total: job.watcher.advance("teacher cache", done, total),
    )


def cache_fault(job: Job, method: Method, at: int) -> Fault | None:
    """Why `teacher_cache: on` cannot be had for this training; None where it can, or was not asked for."""
    reason = unfit(method) if job.recipe.teacher_cache == "on" else None
    if reason is None:
        return None
    return Fault("teacher_cache", f"cannot be on for distill[{at}]: {reason}; set it to auto or off")


def maps_of(method: Method) -> dict[str, list[list[int]]]:
    """The layer maps that terms resolved when they were bound; one that is drawn anew each epoch is none."""
    found = {}
    for name, weighted in method.weighted.items():
        pairs = getattr(weighted.term, "layer_map", None)
        if pairs:
            found[name] = [[int(one), int(other)] for one, other in pairs]
    return found


def best(students: list[Distilled]) -> Distilled:
    """The one that is deployed: the best by validation score, the first of equals."""
    return max(students, key=lambda student: student.model.task.metric.worth(student.score))


def forget_cache(run: Path) -> None:
    """Drop the teacher's cached answers; they are made again when a training needs them."""
    shutil.rmtree(run / "cache", ignore_errors=True)
