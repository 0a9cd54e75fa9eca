"""fit: whether teacher, student and methods go together, asked before anything is trained.

Both networks are built as the run will start with them. Vocabulary, layers, widths and classes do not depend on
training, so that every method can be bound to them at once, also one whose turn would come hours later.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from kd2deploy.core import Features, Task
from kd2deploy.data.splits import lacking
from kd2deploy.errors import Fault, ModelError, RecipeError
from kd2deploy.recipe import Distill, Student, Teacher, build_method, method_name
from kd2deploy.stages.job import Job, encoded
from kd2deploy.stages.kept import cache_fault
from kd2deploy.stages.student import build
from kd2deploy.stages.teacher import untrained
from kd2deploy.train.arguments import sharing_fault
from kd2deploy.train.checkpoint import locate
from kd2deploy.train.engine import Training, require_fit
from kd2deploy.train.generator import MaskedLms
from kd2deploy.train.settings import Settings
from kd2deploy.train.teacher_cache import TeacherCache

PROBE = 2
"""Rows that the networks are shown."""


@dataclass(frozen=True)
class Rows:
    """How many rows a training reads, and the first of them as the networks read them."""

    count: int
    probe: Sequence[Features]


@dataclass(frozen=True)
class Rehearsal:
    """Throw-away networks that methods are bound to."""

    job: Job
    task: Task
    """As the student reads it."""
    origin: Path
    """The teacher's folder, or the baseline's where there is no teacher."""
    teacher: nn.Module | None
    student_folder: Path
    student: nn.Module
    answers: TeacherCache | None = None
    """Those of a teacher that is no network here."""

    def rows_of(self, entry: Distill, taught: bool) -> Rows:
        """What a training reads: under a teacher every row, else the labelled ones."""
        splits = self.job.splits_for(entry.data)
        rows = splits.train if taught else splits.labelled
        return Rows(len(rows), encoded(self.task, rows[:PROBE], self.student_folder, self.origin) if rows else ())

    def generator(self, rows: Rows) -> MaskedLms:
        """One that is not trained: for the methods to be bound to."""
        assert self.teacher is not None
        return MaskedLms(self.teacher, self.origin, self.task, rows.probe, steps=0)

    def label_faults(self) -> list[Fault]:
        """Whether both networks answer the task's classes in its order."""
        try:
            self.job.task.networks.check_pair(self.origin, self.student_folder)
        except ModelError as error:
            return [Fault("task.labels", str(error))]
        return []

    def method_faults(self, entries: Sequence[Distill]) -> list[Fault]:
        """What keeps these trainings from starting, all of it, each with its path in the recipe."""
        found = [
            fault
            for at, entry in enumerate(entries)
            for fault in (self.cache_fault(entry, at), *self.training_faults(entry, at))
            if fault is not None
        ]
        return list(dict.fromkeys(found))

    def cache_fault(self, entry: Distill, at: int) -> Fault | None:
        """Why the teacher's answers cannot be kept for a training that is to have them kept."""
        return cache_fault(self.job, entry, at, self.teacher, self.rows_of(entry, True).probe)

    def training_faults(self, entry: Distill, at: int) -> Iterator[Fault]:
        """Each of a training's methods by itself, so that one misfit does not hide another."""
        several = isinstance(entry.method, list)
        for place, block in enumerate(entry.method if isinstance(entry.method, list) else [entry.method]):
            method = build_method([block])
            teacher = self.teacher if "teacher" in method.needs else None
            answers = self.answers if "teacher" in method.needs else None
            rows = self.rows_of(entry, teacher is not None or answers is not None)
            try:
                require_fit(
                    Training(
                        self.task,
                        self.student,
                        method,
                        rows.probe,
                        entry.settings,
                        teacher=teacher,
                        cache=answers,
                        generator=self.generator(rows) if teacher is not None else None,
                        rows=rows.count,
                    )
                )
            except (ValueError, ModelError) as error:
                told = f"{method_name(block)}: {error}" if isinstance(error, ModelError) else str(error)
                yield Fault(f"distill[{at}].method[{place}]" if several else f"distill[{at}].method", told)


def refuse_unfit(job: Job, student: Student) -> None:
    """RecipeError with all that keeps the recipe's trainings from starting with such a student."""
    with rehearsal(job, student) as found:
        faults = [*found.label_faults(), *found.method_faults(job.recipe.distill)]
    if faults:
        raise RecipeError(faults)


def refuse_unshared(job: Job) -> None:
    """RecipeError with all that keeps as many processes as the recipe says from sharing its trainings here."""
    if job.recipe.processes == 1:
        return
    gpus = torch.cuda.device_count()
    faults = [
        Fault(path, fault)
        for path, settings, rows in shared_trainings(job)
        if (fault := sharing_fault(settings.processes, rows, gpus))
    ]
    if job.executor.elsewhere and gpus:
        message = f"gives each training one GPU, and processes: {job.recipe.processes} gives it as many; leave it out"
        faults.append(Fault("--jobs", message))
    if faults:
        raise RecipeError(list(dict.fromkeys(faults)))


def shared_trainings(job: Job) -> Iterator[tuple[str, Settings, int]]:
    """Path, settings and number of rows of each training: of a student's, where it has a control, the labelled ones."""
    recipe = job.recipe
    if recipe.teacher is not None and recipe.teacher.fine_tune is not None:
        yield "teacher.fine_tune.processes", recipe.teacher.fine_tune, len(job.splits.labelled)
    for at, entry in enumerate(recipe.distill):
        rows = job.splits_for(entry.data).train
        labelled = sum(not lacks for lacks in lacking(rows)) if recipe.control else 0
        yield f"distill[{at}].processes", entry.settings, labelled or len(rows)


@contextmanager
def rehearsal(job: Job, wanted: Student) -> Iterator[Rehearsal]:
    """Teacher and student before any training, in folders that are gone afterwards. Raises ModelError."""
    place = job.run.folder / ".fit"
    shutil.rmtree(place, ignore_errors=True)  # a kill may have left one
    place.mkdir()
    try:
        origin, student = origin_of(job, place / "teacher"), place / "student"
        source = locate(wanted.source) if wanted.source else None
        build(job.task, wanted, origin, source, place, seed=job.recipe.seeds[0], ready=not job.recipe.distill)
        task = job.task.at(student)
        yield Rehearsal(
            job=job,
            task=task,
            origin=origin,
            teacher=job.task.at(origin).networks.load(origin) if job.recipe.teacher_network is not None else None,
            student_folder=student,
            student=task.networks.load(student),
            answers=job.answers.cache if job.answers is not None else None,
        )
    finally:
        shutil.rmtree(place)


def origin_of(job: Job, out: Path) -> Path:
    """`started_origin` of a recipe."""
    teacher = job.recipe.teacher_network
    name = teacher.source if teacher is not None else job.recipe.baseline
    return started_origin(job.task, teacher, locate(name) if name is not None else None, job.recipe.seeds[0], out)


def started_origin(task: Task, teacher: Teacher | None, source: Path | None, seed: int, out: Path) -> Path:
    """The folder of the teacher, or of the baseline where there is none; where a teacher is to be fine-tuned, one with
    the weights that this will start from. `source` is the folder that it comes from."""
    if teacher is None or teacher.fine_tune is None:
        assert source is not None
        task.reader.check_inputs(source)
        return source
    out.mkdir()
    untrained(task, teacher, source, out, seed)
    return out
