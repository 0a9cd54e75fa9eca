"""How much faster the deployed file is than what it is compared with."""

from dataclasses import dataclass
from typing import Literal

from kd2deploy.core.estimate import Estimate
from kd2deploy.core.lengths import LengthGroup

Baseline = Literal["eager", "same_runtime", "best_file", "first"]
"""How what is compared with runs: in eager PyTorch, exactly as the student is deployed, as its own fastest file, or
(`first`, where nothing is judged) as the first that was named."""


@dataclass(frozen=True)
class Speedup:
    """Ratio of median latencies: what is compared with / the deployed file."""

    baseline: Baseline
    ratio: Estimate
    against: str
    """Name of the contender divided by."""
    gates: bool = False
    """Whether `min_speedup` is judged by this one."""
    by_length: tuple[LengthGroup, ...] = ()
    """The same for short, middling and long requests apart; empty where all are alike."""
    end_to_end: Estimate | None = None
    """The same of whole requests, from rows to answers; None where they were not timed."""
    crowded: Estimate | None = None
    """The same beside a busy neighbour; None where that was not timed."""
