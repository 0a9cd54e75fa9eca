"""Agreement of two artifacts on the same examples, and where along the chain the metric is lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kd2deploy.core import Task
from kd2deploy.errors import MeasureError
from kd2deploy.measure.verdict import MetricUnit

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
    figures = task.agreement(source, made)
    limits = {name: least for name, least in LIMITS.get(precision, LIMITS["int8"]).items() if name in figures}
    low = [name for name, least in limits.items() if not figures[name] >= least]  # also catches NaN
    told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
    if not low:
        return Agreement(figures, limits, True, f"agrees with its source ({told})")
    wanted = ", ".join(f"{name} >= {limits[name]}" for name in low)
    return Agreement(figures, limits, False, f"does not agree with its source ({told}; {precision} expects {wanted})")


@dataclass(frozen=True)
class Link:
    """One step of the chain teacher -> student -> export -> ...: its score and what the step cost."""

    name: str
    score: float
    change: float
    """Score minus the score of the link before; negative is a loss. 0 for the first."""


def chain(scores: Sequence[tuple[str, float]]) -> list[Link]:
    """The links of a chain of (name, headline metric), in order of making."""
    before = [score for _, score in scores]
    return [Link(name, score, score - before[max(0, place - 1)]) for place, (name, score) in enumerate(scores)]


def where_it_drops(scores: Sequence[tuple[str, float]], metric_unit: MetricUnit = "share") -> str:
    """One sentence that names the step with the largest loss, or says that there is none; shares lose points."""
    links = chain(scores)
    if len(links) < 2:
        return "there is only one score, so no step to blame"
    worst = min(range(1, len(links)), key=lambda place: links[place].change)
    whole = links[-1].score - links[0].score
    if links[worst].change >= 0:
        return f"no step loses anything ({links[0].name} {links[0].score:.4f}, {links[-1].name} {links[-1].score:.4f})"
    lost, in_all = (
        f"{change * 100:+.2f} points" if metric_unit == "share" else f"{change:+.4f}"
        for change in (links[worst].change, whole)
    )
    return f"the largest loss enters from {links[worst - 1].name} to {links[worst].name}: {lost}, and {in_all} in all"
