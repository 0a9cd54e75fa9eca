"""A training as a value: who learns what, of whom, on which rows, and how."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn
from transformers import TrainingArguments

from kd2deploy.core import Drawing, Features, MaskedLm, Method, Redraw, Task, augmentation
from kd2deploy.train.classes import classes_of
from kd2deploy.train.distiller import Distiller, networks, sizes_seen
from kd2deploy.train.length import counts
from kd2deploy.train.order import Alike, Numbered
from kd2deploy.train.own_batches import OwnBatches
from kd2deploy.train.redrawn import Redrawn
from kd2deploy.train.settings import Settings
from kd2deploy.train.teacher_cache import TeacherCache

PROBE = 2
"""Rows that tell the networks' sizes."""


@dataclass(frozen=True)
class Training:
    """All that the result of a training depends on. `method` comes unbound, and is bound by the training."""

    task: Task
    student: nn.Module
    """A transformers model, or several as one; it is trained in place and saved by its save_pretrained."""
    method: Method
    features: Sequence[Features]
    settings: Settings
    seed: int = 0
    teacher: nn.Module | None = None
    cache: TeacherCache | None = None
    """Stands in for the teacher where the method reads nothing else of it, or where there is no network."""
    generator: Callable[[str | None], MaskedLm] | None = None
    """What writes text for methods that need a masked language model: `Networks.masked_lm`."""
    rows: int | None = None
    """Rows that are trained on, where `features` are but the first of them; None: as many as there are features."""

    @property
    def size(self) -> int:
        """Rows of an epoch."""
        return len(self.features) if self.rows is None else self.rows

    @cached_property
    def numbered(self) -> Numbered:
        """The rows as they are trained on."""
        reads = type(self.task.reader)
        return Numbered(self.features, augmentation(reads, self.settings.augment), self.seed)

    @property
    def by_length(self) -> bool:
        """Whether batches hold rows of like length; of parts of rows, which are of one size, there is no need."""
        return self.settings.group_by_length and not type(self.task.reader).drawn_always

    @property
    def alike(self) -> Alike | None:
        """Which rows stand side by side, where a part of the method asks for rows of one class."""
        together = self.method.rows_of_a_class
        return Alike(classes_of(self.features).tolist(), together) if together > 1 else None

    @property
    def probe(self) -> Sequence[Features]:
        """Two rows for the networks to be shown: parts of rows where a training reads nothing else."""
        first = min(PROBE, len(self.features))
        if type(self.task.reader).drawn_always:
            return [self.numbered[0, place] for place in range(first)]
        return self.features[:first]

    def bind(self, arguments: TrainingArguments) -> None:
        """Show the networks to the method's parts; heads are initialized here, from the seeded generator."""
        epochs = float(self.settings.epochs)
        forwards, _ = counts(self.settings, self.size)
        if isinstance(self.features, Drawing) and self.numbered.augmentation is not None:
            self.features.check(self.numbered.augmentation)
        batch = self.task.reader.collate(self.probe)
        steps = math.ceil(epochs * forwards)
        found = networks(self.task, self.student, self.teacher, batch, rows=self.size, epochs=epochs, steps=steps)
        if self.teacher is None and self.cache is not None:
            found = replace(found, teacher_sizes=sizes_seen(self.cache.lookup(torch.zeros(1, dtype=torch.int64))))
        own, redraw = self.own_batches(arguments.device), self.redraw(arguments.device)
        classes = partial(classes_of, self.features, self.size)
        self.method.bind(replace(found, masked_lm=self.generator, batches=own, redraw=redraw, classes=classes))

    def own_batches(self, device: torch.device) -> OwnBatches:
        """For parts that learn by themselves, as the student's own are made."""
        of = self.settings
        return OwnBatches(
            self.task,
            self.features,
            batch=of.batch,
            seed=self.seed,
            by_length=self.by_length,
            device=device,
            augmentation=self.numbered.augmentation,
        )

    def redraw(self, device: torch.device) -> Callable[[Mapping[str, Any] | None], Redraw] | None:
        """For views that look at augmented rows once more; None where the task's rows are never augmented."""
        reads = type(self.task.reader)
        if reads.augments is None:
            return None

        def by(augment: Mapping[str, Any] | None) -> Redraw:
            chosen = self.numbered.augmentation if augment is None else augmentation(reads, augment)
            if chosen is None:
                raise ValueError("the training augments nothing; give it `augment`, or the method an augmentation")
            return Redrawn(self.task, self.numbered, chosen, device)

        return by

    def distiller(self) -> Distiller:
        """Both networks under the bound method, as one module."""
        return Distiller(self.task, self.student, self.method, self.teacher, self.cache)
