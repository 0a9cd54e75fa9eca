"""What the trainings of a run share: the teacher's answers to its rows, and generators of text made of it."""

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from kd2deploy.core import Features, Method, Row, Table, Task, augments
from kd2deploy.core.artifact import sha256_of
from kd2deploy.core.locks import held
from kd2deploy.core.watcher import Watcher
from kd2deploy.core.written import made_aside
from kd2deploy.errors import Fault
from kd2deploy.networks.inputs import inputs_of
from kd2deploy.recipe import Caching, Distill, build_method
from kd2deploy.stages.job import Job, Model, Read
from kd2deploy.train.compact import Compact
from kd2deploy.train.generator import STEPS, MaskedLms
from kd2deploy.train.settings import Settings
from kd2deploy.train.teacher_cache import TeacherCache, unfit, unfit_answers, unfit_top

log = logging.getLogger(__name__)

MANY = 20_000
"""Rows from which on it pays to keep them encoded. Ours: fewer are read in a few seconds."""
ENCODED = 1
"""Version of what is kept of them."""
CACHED = "cache"
"""The folder of a run where trainings keep what they share."""


@dataclass(frozen=True)
class Kept:
    """Where what trainings share is kept between them: the teacher's answers, generators of text."""

    folder: Path
    caching: Caching
    """Whether the teacher's answers are kept, and how."""
    task: Task
    tell: Watcher


@dataclass(frozen=True)
class Encodings:
    """Rows as networks read them, kept for all trainings that read the same; one process reads, the others wait."""

    folder: Path
    data: str
    """Hash of the rows."""

    def __call__(self, task: Task, read: Read, rows: Sequence[Row], network: Path) -> Sequence[Features]:
        """What `read` makes of the rows for a network; mapped into memory where there are many and they are columns."""
        if len(rows) < MANY:
            return read(rows, network)
        made_of = [ENCODED, self.data, len(rows), task.spec(), read_by(network)]
        key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
        self.folder.mkdir(exist_ok=True)
        place = self.folder / f"rows-{key[:16]}"
        with held(self.folder / f".rows-{key[:16]}"):
            if not place.exists():
                found = read(rows, network)
                if not isinstance(found, Table):
                    return found
                with made_aside(place) as new:
                    found.save(new)
        return Table.open(place)


def read_by(network: Path) -> list[str]:
    """Hashes of what a network's inputs are read by: whatever lies in its folder beside its weights."""
    folder = inputs_of(network)
    files = sorted(one for one in folder.iterdir() if one.is_file() and one.suffix not in (".safetensors", ".md"))
    return [f"{one.name} {sha256_of(one)}" for one in files]


def generators_of(
    kept: Kept, teacher: Model, net: nn.Module, task: Task, features: Sequence[Features], seed: int, data: str
) -> MaskedLms:
    """Generators for this teacher. A derived one depends on teacher, rows (whose hash is `data`), task and seed alone,
    so methods share it."""
    made_of = f"{teacher.sha256} {data} {kept.task.spec()} {seed} {STEPS}"
    key = hashlib.sha256(made_of.encode()).hexdigest()
    kept.folder.mkdir(exist_ok=True)
    file = kept.folder / f"generator-{key[:16]}.safetensors"
    return MaskedLms(net, teacher.folder, task, features, cache=file, seed=seed)


def cache_for(
    kept: Kept, method: Method, net: nn.Module, teacher: Model, features: Sequence[Features], settings: Settings
) -> TeacherCache | None:
    """The teacher's answers to every row, where the method reads nothing else of it, rows stay as they are, answers are
    of one shape for each row and more than one epoch is run."""
    caching = kept.caching
    if caching.use == "off" or (caching.use == "auto" and (settings.epochs <= 1 or settings.cuts_teacher)):
        return None
    reason = unfit(method, augments(type(kept.task.reader), settings.augment)) or unfit_answers(
        kept.task, net, features
    )
    if reason is not None:
        assert caching.use == "auto", reason  # `cache_fault` refused it before
        log.info("the teacher's answers are not kept: %s", reason)
        return None
    net.to("cuda" if torch.cuda.is_available() else "cpu")
    return TeacherCache.open_or_fill(
        kept.folder,
        kept.task,
        net,
        features,
        teacher_hash=teacher.sha256,
        compact=Compact(caching.top, half=caching.precision == "float16"),
        on_progress=lambda done, total: kept.tell.advance("teacher cache", done, total),
    )


def cache_fault(job: Job, entry: Distill, at: int, net: nn.Module | None, probe: Sequence[Features]) -> Fault | None:
    """Why the `teacher_cache` that the recipe asks for cannot be had for this training; None where it can.

    `net` is the teacher and `probe` a few rows as it reads them.
    """
    caching = job.recipe.teacher_cache
    if caching.top is not None and net is not None and probe:
        reason = unfit_top(job.task, net, probe, caching.top)
        if reason is not None:
            return Fault("teacher_cache.top", f"{reason}; leave it out")
    if caching.use != "on" or job.answers is not None:
        return None
    reason = unfit(build_method(entry.method), augments(type(job.task.reader), entry.settings.augment))
    if entry.settings.cuts_teacher:
        reason = "a teacher in shards (shard_teacher) answers a batch of all processes at a time, and no row beforehand"
    reason = reason or (unfit_answers(job.task, net, probe) if net is not None and probe else None)
    if reason is None:
        return None
    return Fault("teacher_cache", f"cannot be on for distill[{at}]: {reason}; set it to auto or off")


def forget_cache(run: Path) -> None:
    """Drop the teacher's cached answers; they are made again when a training needs them."""
    shutil.rmtree(run / CACHED, ignore_errors=True)
