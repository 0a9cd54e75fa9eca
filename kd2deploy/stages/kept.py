"""What the trainings of a run share: the teacher's answers to its rows, and generators of text made of it."""

import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from kd2deploy.core import Features, Method, Task, augments
from kd2deploy.core.watcher import Watcher
from kd2deploy.errors import Fault
from kd2deploy.recipe import Distill, build_method
from kd2deploy.stages.job import Job, Model
from kd2deploy.train.generator import STEPS, MaskedLms
from kd2deploy.train.settings import Settings
from kd2deploy.train.teacher_cache import TeacherCache, unfit, unfit_answers

log = logging.getLogger(__name__)

CACHED = "cache"
"""The folder of a run where trainings keep what they share."""


@dataclass(frozen=True)
class Kept:
    """Where what trainings share is kept between them: the teacher's answers, generators of text."""

    folder: Path
    choice: Literal["auto", "on", "off"]
    """Whether the teacher's answers are kept."""
    task: Task
    tell: Watcher


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
    if kept.choice == "off" or (kept.choice == "auto" and settings.epochs <= 1):
        return None
    reason = unfit(method, augments(type(kept.task.reader), settings.augment)) or unfit_answers(
        kept.task, net, features
    )
    if reason is not None:
        assert kept.choice == "auto", reason  # `cache_fault` refused it before
        log.info("the teacher's answers are not kept: %s", reason)
        return None
    net.to("cuda" if torch.cuda.is_available() else "cpu")
    return TeacherCache.open_or_fill(
        kept.folder,
        kept.task,
        net,
        features,
        teacher_hash=teacher.sha256,
        on_progress=lambda done, total: kept.tell.advance("teacher cache", done, total),
    )


def cache_fault(job: Job, entry: Distill, at: int, net: nn.Module | None, probe: Sequence[Features]) -> Fault | None:
    """Why `teacher_cache: on` cannot be had for this training; None where it can, or was not asked for.

    `net` is the teacher and `probe` a few rows as it reads them.
    """
    if job.recipe.teacher_cache != "on":
        return None
    reason = unfit(build_method(entry.method), augments(type(job.task.reader), entry.settings.augment))
    reason = reason or (unfit_answers(job.task, net, probe) if net is not None and probe else None)
    if reason is None:
        return None
    return Fault("teacher_cache", f"cannot be on for distill[{at}]: {reason}; set it to auto or off")


def forget_cache(run: Path) -> None:
    """Drop the teacher's cached answers; they are made again when a training needs them."""
    shutil.rmtree(run / CACHED, ignore_errors=True)
