"""What became of each way to deploy that an export tried: how far it came in the choice, and why no further."""

from dataclasses import dataclass
from typing import Literal

from kd2deploy.core.estimate import Estimate

Fate = Literal["deployed", "raced", "crowded_out", "slower", "inaccurate", "left_out"]
"""`deployed`; `raced` to the end, and not the fastest; `crowded_out` of the last race, which has few places, by others
that looked faster; surely `slower`; `inaccurate`: it loses too much on the validation rows to be timed; `left_out`: it
could not be made, opened or timed."""

Sought = Literal["latency", "throughput"]
"""What the fastest is the fastest in: the time of one request alone, or rows per second."""


@dataclass(frozen=True)
class Tried:
    """One way to deploy. Its figures are of quick timings: good for choosing, and for nothing else."""

    name: str
    fate: Fate
    precision: str = ""
    score: float | None = None
    """The headline metric on the validation rows."""
    median_ms: float | None = None
    """Of one request, over all rounds of its last timing; None where none was timed."""
    rows_per_s: float | None = None
    """None where throughput was not taken."""
    ratio: Estimate | None = None
    """Its time over that of the fastest, in the last race where it was in it, and else when it was dropped. Where
    throughput is sought, the time for a row."""
    against: str = ""
    """Who was the fastest then."""
    rounds: int = 0
    """Quick rounds that it was timed in."""
    reason: str = ""
    """Why it was left out."""
