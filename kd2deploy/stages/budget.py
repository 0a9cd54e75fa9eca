"""What a training may cost: as many optimizer steps, or as much wall-clock time, as another."""

import math
from collections.abc import Sequence
from dataclasses import replace

from kd2deploy.recipe import Distill
from kd2deploy.train.arguments import counts
from kd2deploy.train.settings import Settings


def steps_of(settings: Settings, rows: int) -> int:
    """Optimizer steps of a training on so many rows, in one process."""
    return math.ceil(settings.epochs * counts(settings, rows, 1)[1])


def epochs_for(steps: int, settings: Settings, rows: int) -> float:
    """The epochs over so many rows that make just these steps: the inverse of `steps_of`."""
    per_epoch = counts(settings, rows, 1)[1]
    epochs = steps / per_epoch
    rounded_up = math.ceil(epochs * per_epoch) > steps
    return math.nextafter(epochs, 0.0) if rounded_up else epochs


def within(steps: int, trainings: Sequence[Distill], settings: Settings, rows: int) -> list[Distill]:
    """A method's trainings under other settings, `steps` in all, each with its part of its own recipe's epochs.

    What rounding leaves over goes to the last one; each gets a step at least.
    """
    whole = sum(entry.settings.epochs for entry in trainings)
    parts = [max(1, math.floor(steps * entry.settings.epochs / whole)) for entry in trainings[:-1]]
    parts.append(max(1, steps - sum(parts)))
    return [
        Distill(method=entry.method, settings=replace(settings, epochs=epochs_for(part, settings, rows)))
        for entry, part in zip(trainings, parts, strict=True)
    ]


def steps_in(seconds: float, seconds_per_step: float) -> int:
    """Whole steps that fit into the time, one at least."""
    return max(1, math.floor(seconds / seconds_per_step + 1e-9))
