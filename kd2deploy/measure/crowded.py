"""What requests took beside a busy neighbour, and how much longer that is than alone."""

from dataclasses import replace

import numpy as np

from kd2deploy.measure.intervals import Interval
from kd2deploy.measure.statistics import Ratio, geometric_mean, ratio_of_medians
from kd2deploy.measure.timing import Timing


def crowded(timing: Timing | None) -> Timing | None:
    """The same contender with its requests beside a neighbour for samples; None where none were timed."""
    return replace(timing, blocks=timing.crowded) if timing is not None and timing.crowded else None


def crowded_speedup(slow: Timing | None, fast: Timing | None) -> Ratio | None:
    """Ratio of the median latencies beside a neighbour, slow / fast; None where either was not timed so."""
    one, other = crowded(slow), crowded(fast)
    return ratio_of_medians(one.by_round(), other.by_round()) if one and other else None


def slowdown(timing: Timing) -> Interval | None:
    """Median beside a neighbour over the median alone: one ratio for each process, and Student's interval of their
    logarithms. None where none was timed."""
    beside = crowded(timing)
    if beside is None:
        return None
    pairs = zip(beside.by_process(), timing.by_process(), strict=True)
    ratios = [float(np.median(np.concatenate(busy)) / np.median(np.concatenate(alone))) for busy, alone in pairs]
    return geometric_mean(np.array(ratios))
