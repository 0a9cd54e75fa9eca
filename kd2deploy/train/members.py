"""A student of several networks made of one teacher, each a smaller teacher of its own, within one network's budget."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd2deploy.core import Task
from kd2deploy.core.figures import count_of
from kd2deploy.core.members import MEMBERS, Combine, Members
from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import config_in
from kd2deploy.networks.image_processor import processor
from kd2deploy.train.checkpoint import copy_inputs
from kd2deploy.train.shapes import CONVOLUTIONAL, Shape, shape_of, smaller
from kd2deploy.train.student import Shrunk, Trim, shrink

LENGTH = 128
"""Tokens of the row whose operations are counted; shares of a budget hardly depend on it."""


@dataclass(frozen=True)
class Split:
    """Several networks that share a budget, in their folder."""

    parameters: int
    copied_share: float
    """Share of all their parameters that start from the teacher's, 0..1."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """What networks take together: weights, and floating-point operations on one row."""

    parameters: int
    flops: float

    @classmethod
    def of(cls, shapes: Sequence[Shape]) -> "Cost":
        return cls(sum(one.parameters for one in shapes), sum(one.flops for one in shapes))

    def __str__(self) -> str:
        return f"{count_of(self.parameters, 'parameter')} and {self.flops / 1e6:,.2f} million operations a row"


def split(
    teacher: Path,
    out: Path,
    task: Task,
    wanted: Sequence[Trim],
    *,
    combine: Combine,
    budget: Trim | None = None,
    seed: int = 0,
) -> Split:
    """Writes a smaller teacher for each of `wanted`, in folders network-1, network-2 ... of `out`, and `members.json`.

    Two of one shape start apart where their weights are random. Raises ModelError for a family or size that cannot be
    made, and before anything is made where they take more than the one network of `budget`: in parameters or in
    operations.
    """
    config = config_in(teacher)
    length = processor(teacher.resolve()).out[0] if config.model_type in CONVOLUTIONAL else LENGTH
    costs = Cost.of([shaped(config, task, one, length) for one in wanted])
    notes = [f"the student's {count_of(len(wanted), 'network')} have {costs} together"]
    if budget is not None:
        most = Cost.of([shaped(config, task, budget, length)])
        require_within(costs, most)
        notes = [f"{notes[0]}; the one network of `budget` has {most}"]
    how = Members(tuple(f"network-{at + 1}" for at in range(len(wanted))), combine, (1.0,) * len(wanted))
    made = [
        shrink(teacher, out / name, task, one, seed=seed + at)
        for at, (name, one) in enumerate(zip(how.names, wanted, strict=True))
    ]
    (out / MEMBERS).write_text(json.dumps(how.to_json(), indent=2) + "\n", encoding="utf-8")
    copy_inputs(teacher, out)
    return Split(
        sum(one.parameters for one in made),
        copied(made),
        (*notes, *(f"{name}: {note}" for name, one in zip(how.names, made, strict=True) for note in one.notes)),
    )


def shaped(config: Any, task: Task, wanted: Trim, length: int) -> Shape:
    """The shape of a smaller teacher that answers the task."""
    found = smaller(
        config, layers=wanted.layers, hidden=wanted.hidden, heads=wanted.heads, intermediate=wanted.intermediate
    )
    found.update(task.networks.answers())
    return shape_of(found, length)


def require_within(costs: Cost, most: Cost) -> None:
    if costs.parameters > most.parameters or costs.flops > most.flops:
        raise ModelError(
            f"student.members: the networks have {costs} together, and the one network of `budget` has {most}; make a "
            "member smaller or the budget larger"
        )


def copied(made: Sequence[Shrunk]) -> float:
    return sum(one.copied_share * one.parameters for one in made) / sum(one.parameters for one in made)
