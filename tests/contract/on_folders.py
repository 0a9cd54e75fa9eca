"""Methods on networks that lie in folders, for tasks that answer otherwise than the contract's own."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from contract import PAIRS, Case, all_cases, halfway, outcome_of
from grounds import OF_OBJECTS, OF_PICTURES
from several import write_members

from kd2deploy.core import Batch, Task
from kd2deploy.train.distiller import Distiller, networks


def pair_in(folder: Path, save: Callable[..., Path]) -> Path:
    """The folder with a teacher, a student and a pair whose logits are summed in it, saved by `save`."""
    save(folder / "teacher", layers=4, hidden=32, seed=1)
    save(folder / "student", layers=2, hidden=16, seed=2)
    for seed, name in enumerate("ab"):
        save(folder / "pair" / name, layers=1, hidden=16, seed=3 + seed)
    write_members(folder / "pair", combine="sum")
    return folder


def bound(
    case: Case, task: Task, folders: Path, rows: Sequence[dict[str, Any]], same: bool = False
) -> tuple[Distiller, Batch]:
    """A distiller of the case's method, bound to the pair, and the rows as a batch; `same`: the student is the teacher.

    Raises ValueError where the method is refused.
    """
    task = task.at(folders / "teacher")
    teacher = task.networks.load(folders / "teacher")
    place = folders / ("pair" if case.method in PAIRS else "student")
    student = copy.deepcopy(teacher) if same else task.networks.load(place)
    batch = task.reader.collate(task.reader.encode(rows, folders / "teacher"))
    method = case.build()
    torch.manual_seed(0)
    shown = networks(task, student, teacher, batch, rows=len(rows), epochs=2.0, steps=100)
    method.bind(replace(shown, batches=lambda number: batch))
    distiller = Distiller(task, student, method, teacher)
    distiller.progress = halfway(0)
    return distiller, batch


def fitting() -> list[Case]:
    """All but those with the small masked language model, which speaks another vocabulary than these networks, and
    those of pictures and of objects in them."""
    found = [case for case in all_cases() if case.method not in OF_PICTURES | OF_OBJECTS]
    return [case for case in found if not case.arguments.get("generator") or case.name == "phase 2"]


def learns(distiller: Distiller, batch: Batch) -> bool:
    """Whether the loss is finite and reaches the student."""
    found = outcome_of(distiller.train(), batch)
    assert found.loss.isfinite()
    found.loss.backward()
    return any(weight.grad is not None and bool(weight.grad.any()) for weight in distiller.student.parameters())
