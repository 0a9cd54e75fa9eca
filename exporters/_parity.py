"""How far one artifact's answers may stand from another's: a check of the conversion, not of the task's metric."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd2deploy.core import Task

Array = np.ndarray[Any, Any]

RELATIVE = {"fp32": 1e-3, "bf16": 1e-1, "fp16": 3e-2}
"""Of a value and of the outputs' spread: a wrong bias is orders above, the rounding of a deep fp32 network below."""


def spread(reference: Array) -> float:
    """Largest standard deviation over the examples of any output value: 0 when the input does not matter."""
    return float(reference.astype(np.float64).std(axis=0).max())


def refusal(reference: Array) -> str:
    """Why answers cannot serve as a reference; empty when they can.

    Answers near 1e-24, as a badly scaled random network gives, agree with anything within an absolute tolerance, and so
    do answers that are alike for every input.
    """
    if not np.isfinite(reference).all():
        return (
            "the source answers with NaN or infinity: its weights are broken, train it anew or take another checkpoint"
        )
    size = float(np.abs(reference.astype(np.float64)).max())
    if size < 1e-12:
        return f"the source's answers vanish (at most {size:.1e}), so nothing can be checked: rescale its weights"
    return ""


def varies(references: Sequence[Array]) -> bool:
    """True when some example is answered differently from another."""
    size = max(float(np.abs(array.astype(np.float64)).max()) for array in references)
    return any(spread(array) > 1e-7 * size for array in references)


def difference(reference: Array, found: Array, precision: str = "fp32") -> float:
    """Largest deviation in units of what is allowed: `|found - reference| / (r * (|reference| + std(reference)))`.

    Above 1 the two disagree. `r` is `RELATIVE[precision]`; NaN in `found`, or another shape, is infinitely far.
    """
    if reference.shape != found.shape or not np.isfinite(found).all():
        return float("inf")
    one, other = reference.astype(np.float64), found.astype(np.float64)
    allowed = RELATIVE[precision] * (np.abs(one) + one.std() + 1e-12)
    return float((np.abs(one - other) / allowed).max())


def disagreement(
    task: Task, reference: Sequence[Mapping[str, Array]], found: Sequence[Mapping[str, Array]], precision: str
) -> str:
    """Which output stands too far from the reference, and how far; empty where none does, and for what is rounded to
    bytes, whose cost is the accuracy gate's matter."""
    if precision not in RELATIVE:
        return ""
    for expected, answer in zip(reference, found, strict=True):
        name, distance = worst(expected, task.aligned(expected, answer), precision)
        if distance > 1:
            return f"output {name!r}, {distance:.3g} times too far"
    return ""


def worst(reference: Mapping[str, Array], found: Mapping[str, Array], precision: str = "fp32") -> tuple[str, float]:
    """The output that deviates most, and its `difference`."""
    return max(
        ((name, difference(array, found[name], precision)) for name, array in reference.items()),
        key=lambda pair: pair[1],
    )
