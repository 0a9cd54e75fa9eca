"""Requests of like size: what one median over short and long ones hides."""

from dataclasses import dataclass

from kd2deploy.core.estimate import Estimate


@dataclass(frozen=True)
class LengthGroup:
    """Two contenders on requests whose rows have `smallest` to `largest` of what the deployed network's reader counts,
    padding included."""

    smallest: int
    largest: int
    requests: int
    slow_ms: float
    """Median of what is compared with over these requests."""
    fast_ms: float
    """Median of the deployed file."""
    ratio: Estimate


@dataclass(frozen=True)
class LengthMedian:
    """One contender on the same requests."""

    smallest: int
    largest: int
    requests: int
    median: Estimate
    """In ms."""
