"""A figure as it is told: its value and 95 % interval, or why it cannot be stated."""

import math
from dataclasses import dataclass

VAGUE = 10.0
"""A ratio whose interval spans more than so many times is told by its ends: its middle says nothing. Ours."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval. `value` None means that it cannot be stated, and `note` says why; of a value
    without any interval it says why that is so."""

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


TOO_FEW = "too few for an interval"


def estimate(value: float | None, low: float | None = None, high: float | None = None, note: str = "") -> Estimate:
    """An Estimate with what is not finite left out: an endless interval loses its end, a NaN becomes "not finite", and
    where both ends are endless that is said."""
    endless = low is not None and high is not None and not math.isfinite(low) and not math.isfinite(high)
    low, high = (None if end is None or not math.isfinite(end) else float(end) for end in (low, high))
    if value is None:
        return Estimate(None, low, high, note)
    if not math.isfinite(value):
        return Estimate(None, low, high, note or "not finite")
    return Estimate(float(value), low, high, note or (TOO_FEW if endless else ""))


def needs(samples: int) -> Estimate:
    """A percentile that is not stated, because that takes at least `samples` samples."""
    return Estimate(None, note=f"n/a (needs {samples:,})")


def is_vague(low: float | None, high: float | None) -> bool:
    """Whether a ratio's interval spans more than an order of magnitude, or has no end."""
    if low is None or high is None or not math.isfinite(high):
        return True
    return low <= 0 or high > VAGUE * low
