"""What whole requests took, from rows as a client sends them to answers for a person, and where the time went."""

from dataclasses import dataclass, replace

import numpy as np

from kd2deploy.measure.statistics import Ratio, ratio_of_medians
from kd2deploy.measure.timing import Block, Doubles, Timing


def end_to_end(timing: Timing | None) -> Timing | None:
    """The same contender with its whole requests for samples; None where none were timed."""
    return replace(timing, blocks=timing.end_to_end) if timing is not None and timing.end_to_end else None


def end_to_end_speedup(slow: Timing | None, fast: Timing | None) -> Ratio | None:
    """Ratio of the median times of whole requests, slow / fast; None where either was not timed."""
    one, other = end_to_end(slow), end_to_end(fast)
    return ratio_of_medians(one.by_round(), other.by_round()) if one and other else None


@dataclass(frozen=True)
class Split:
    """Where a whole request's time goes: medians in ms, which need not add up to the median of all."""

    preparing_ms: float
    network_ms: float
    rest_ms: float
    """From the outputs to the answer."""


def split(whole: Timing) -> Split:
    """Of what `end_to_end` gave."""
    parts = np.concatenate([_parts(block) for block in whole.blocks]) / 1e6
    return Split(*np.median(parts, axis=0).tolist())


def _parts(block: Block) -> Doubles:
    """[runs, 3] nanoseconds: before the first mark, between the two, behind the second."""
    ends = np.array([(*marks, ns) for marks, ns in zip(block.marks, block.ns, strict=True)], dtype=np.float64)
    return np.diff(ends, axis=1, prepend=0.0)
