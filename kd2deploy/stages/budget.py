"""What a training may cost: as many optimizer steps, or as much wall-clock time, as another."""

import math
from collections.abc import Sequence
from dataclasses import replace

from kd2deploy.recipe import Distill
from kd2deploy.train.length import in_epochs
from kd2deploy.train.settings import Settings


def within(steps: int, trainings: Sequence[Distill], settings: Settings, rows: int) -> list[Distill]:
    """A method's trainings under other settings, `steps` in all, each with its part of its own recipe's epochs and on
    the data that it names.

    What rounding leaves over goes to the last one; each gets a step at least.
    """
    each = [in_epochs(entry.settings, rows).epochs for entry in trainings]
    parts = [max(1, math.floor(steps * part / sum(each))) for part in each[:-1]]
    parts.append(max(1, steps - sum(parts)))
    return [
        Distill(method=entry.method, settings=replace(settings, steps=part), data=entry.data)
        for entry, part in zip(trainings, parts, strict=True)
    ]


def steps_in(seconds: float, seconds_per_step: float) -> int:
    """Whole steps that fit into the time, one at least."""
    return max(1, math.floor(seconds / seconds_per_step + 1e-9))
