"""How long a training is: in epochs over its rows, or in optimizer steps."""

import math
from dataclasses import replace

from kd2deploy.train.settings import Settings


def counts(settings: Settings, rows: int) -> tuple[int, int]:
    """Forwards and optimizer steps per epoch, in each process."""
    forwards = math.ceil(math.ceil(rows / settings.batch) / settings.processes)
    return forwards, math.ceil(forwards / settings.accumulate)


def steps_of(settings: Settings, rows: int) -> int:
    """Optimizer steps of a training on so many rows."""
    if settings.steps is not None:
        return settings.steps
    return math.ceil(settings.epochs * counts(settings, rows)[1])


def epochs_for(steps: int, settings: Settings, rows: int) -> float:
    """The epochs over so many rows that make just these steps: the inverse of `steps_of`."""
    per_epoch = counts(settings, rows)[1]
    epochs = steps / per_epoch
    rounded_up = math.ceil(epochs * per_epoch) > steps
    return math.nextafter(epochs, 0.0) if rounded_up else epochs


def of_steps(settings: Settings, steps: int, rows: int) -> Settings:
    """The settings with another length: so many steps over so many rows, told in epochs."""
    return replace(settings, steps=None, epochs=epochs_for(steps, settings, rows))


def in_epochs(settings: Settings, rows: int) -> Settings:
    """The settings with `steps` turned into the epochs that make them."""
    if settings.steps is None:
        return settings
    return replace(settings, steps=None, epochs=epochs_for(settings.steps, settings, rows))
