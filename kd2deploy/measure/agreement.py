"""Agreement of two artifacts on the same examples: does a conversion answer as what it was made from?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kd2deploy.core import Task
from kd2deploy.core.figures import alike
from kd2deploy.errors import MeasureError

Array = np.ndarray[Any, Any]

LIMITS: Mapping[str, Mapping[str, float]] = {
    "fp32": {"top1": 0.999, "cosine": 0.9999},
    "fp16": {"top1": 0.99, "cosine": 0.999},
    "bf16": {"top1": 0.98, "cosine": 0.99},
    "int8": {"top1": 0.90, "cosine": 0.95},
}
"""Least agreement expected of a sound conversion to each precision. They find broken exports, which lie far below; what
a lower precision may cost is the accuracy gate's matter. Ours."""


@dataclass(frozen=True)
class Agreement:
    """How alike two artifacts answer, held against the limits of the less precise one."""

    figures: Mapping[str, float]
    limits: Mapping[str, float]
    holds: bool
    sentence: str


def agree(task: Task, source: Mapping[str, Array], made: Mapping[str, Array], precision: str = "fp32") -> Agreement:
    """Agreement of an artifact with what it was made from; both outputs over the same examples in the same order.

    Raises MeasureError where names or shapes differ, which no threshold could excuse.
    """
    if set(source) != set(made):
        raise MeasureError(f"outputs {sorted(source)} and {sorted(made)} cannot be compared; export them by one name")
    for name, array in source.items():
        if array.shape != made[name].shape:
            raise MeasureError(
                f"output {name!r} has shape {made[name].shape}, its source {array.shape}: a dynamic axis was lost"
            )
    figures = task.metric.alike(source, made)
    limits = {name: least for name, least in LIMITS.get(precision, LIMITS["int8"]).items() if name in figures}
    low = [name for name, least in limits.items() if not figures[name] >= least]  # also catches NaN
    told = ", ".join(f"{name} {alike(value)}" for name, value in figures.items())
    if not low:
        return Agreement(figures, limits, True, f"agrees with its source ({told})")
    wanted = ", ".join(f"{name} >= {limits[name]}" for name in low)
    return Agreement(figures, limits, False, f"does not agree with its source ({told}; {precision} expects {wanted})")
