"""A distiller of a method for detectors on small networks of objects, and a batch."""

from dataclasses import replace

import torch
from small_objects import Objects, grid, object_rows

from kd2deploy.core import Progress
from kd2deploy.train.distiller import Distiller, networks


def at_share(done):
    """So large a share of a training of 300 steps over 24 epochs."""
    return Progress(step=round(300 * done), steps=300, epoch=24 * done, epochs=24.0)


def object_batch(rows=6):
    return Objects().reader.collate(object_rows(rows))


def distilled(method, student=None, teacher=None, seed=0, **changes):
    """Bound with seeded heads, at the beginning of its training."""
    task, batch = Objects(), object_batch(2)
    student = grid(8, seed=1) if student is None else student
    teacher = grid(12, seed=2) if teacher is None else teacher
    torch.manual_seed(seed)
    method.bind(replace(networks(task, student, teacher, batch, rows=6, epochs=24.0, steps=300), **changes))
    found = Distiller(task, student, method, teacher)
    found.progress = at_share(0)
    return found


def outcome(distiller, batch=None, seed=0):
    torch.manual_seed(seed)
    return distiller.outcome(object_batch() if batch is None else batch)
