"""Latency and speedup for short, middling and long requests apart: one median over all of them hides what long ones
cost, and that a speedup turns round."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kd2deploy.core.estimate import Estimate
from kd2deploy.core.lengths import LengthGroup, LengthMedian
from kd2deploy.measure.intervals import Interval, shown
from kd2deploy.measure.statistics import LEAST_PROCESSES, percentile, t_interval
from kd2deploy.measure.timing import Doubles, Timing

Whole = NDArray[np.int64]
Inside = NDArray[np.bool_]

GROUPS = 3
LEAST_RATIO = 1.5
"""The largest inputs over the smallest, below which groups would tell nothing. Ours."""
LEAST_SAMPLES = 5
"""Timed requests of a contender in a process and group. Ours."""


def speedup_by_length(slow: Timing, fast: Timing) -> tuple[LengthGroup, ...]:
    """The ratio of medians in thirds of the requests by size, the smallest first.

    Empty where all requests are nearly alike (pictures), or where a third holds too few samples in some process. The
    requests of both are the same examples in the same order.
    """
    if slow.failure or fast.failure or len(slow.sizes) != len(fast.sizes):
        return ()
    sizes = row_sizes(fast)
    found = [group(slow, fast, sizes, inside) for inside in thirds(sizes)]
    return tuple(one for one in found if one is not None) if all(found) else ()


def medians_by_length(timing: Timing, deployed: Timing) -> tuple[LengthMedian, ...]:
    """The contender's median in the same thirds, by the size that requests have for the deployed file; empty as there.

    The requests of both are the same examples in the same order.
    """
    if timing.failure or deployed.failure or len(timing.sizes) != len(deployed.sizes):
        return ()
    sizes, found = row_sizes(deployed), []
    for inside in thirds(sizes):
        taken, mine = by_process(timing, inside), sizes[inside]
        if min(map(len, taken)) < LEAST_SAMPLES:
            return ()
        found.append(LengthMedian(int(mine.min()), int(mine.max()), len(mine), median_of(taken)))
    return tuple(found)


def median_per(timing: Timing, unit: float) -> Estimate:
    """Median over the requests of milliseconds for every `unit` elements, padding included."""
    sizes = np.array(timing.sizes, dtype=np.float64)
    return median_of(by_process(timing, np.full(len(sizes), True), unit / sizes))


def row_sizes(timing: Timing) -> Whole:
    """[requests]: the elements of one row of each, padding included."""
    return np.array(timing.sizes, dtype=np.int64) // timing.batch


def thirds(sizes: Whole) -> list[Inside]:
    """Which requests are short, middling and long; none where all are nearly alike (pictures)."""
    if not len(sizes) or sizes.max() < LEAST_RATIO * sizes.min():
        return []
    of_place = np.searchsorted(np.quantile(sizes, np.arange(1, GROUPS) / GROUPS), sizes)
    found = [of_place == place for place in range(GROUPS) if (of_place == place).any()]
    return found if len(found) > 1 else []


def group(slow: Timing, fast: Timing, sizes: Whole, inside: Inside) -> LengthGroup | None:
    """One group's figures; None where a process has too few samples of it."""
    one, other = (by_process(timing, inside) for timing in (slow, fast))
    if min(len(samples) for samples in (*one, *other)) < LEAST_SAMPLES or len(one) != len(other):
        return None
    logs = np.array([np.log(np.median(a) / np.median(b)) for a, b in zip(one, other, strict=True)])
    ratio = t_interval(logs) if len(logs) >= LEAST_PROCESSES else None
    mine = sizes[inside]
    known = Interval(*np.exp([ratio.estimate, ratio.low, ratio.high]).tolist()) if ratio else None
    return LengthGroup(
        int(mine.min()),
        int(mine.max()),
        len(mine),
        float(np.median(np.concatenate(one))),
        float(np.median(np.concatenate(other))),
        shown(known or Interval(float(np.exp(logs.mean())), 0.0, np.inf)),
    )


def median_of(taken: Sequence[Doubles]) -> Estimate:
    """The median over processes of what requests took in each, as a report shows it."""
    return shown(percentile([[samples] for samples in taken], 0.5))


def by_process(timing: Timing, inside: Inside, times: Doubles | None = None) -> Sequence[Doubles]:
    """Milliseconds of the requests that are `inside` [places], `times` the factor of each place, process by process."""
    factors = np.ones(len(inside)) if times is None else times
    processes = sorted({block.process for block in timing.blocks})
    return [
        np.array(
            [
                ns / 1e6 * factors[place]
                for block in timing.blocks
                if block.process == process
                for ns, place in zip(block.ns, block.inputs, strict=True)
                if inside[place]
            ]
        )
        for process in processes
    ]
