"""The speedup for short, middling and long inputs apart: one median over all of them may hide that it turns round."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kd2deploy.core.speedups import LengthGroup
from kd2deploy.measure.intervals import Interval, shown
from kd2deploy.measure.statistics import LEAST_PROCESSES, t_interval
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
    sizes = np.array(fast.sizes)
    if slow.failure or fast.failure or not len(sizes) or len(slow.sizes) != len(sizes):
        return ()
    if sizes.max() < LEAST_RATIO * sizes.min():
        return ()
    borders = np.quantile(sizes, np.arange(1, GROUPS) / GROUPS)
    of_place = np.searchsorted(borders, sizes)
    found = [group(slow, fast, sizes, of_place == place) for place in range(GROUPS) if (of_place == place).any()]
    return tuple(one for one in found if one is not None) if all(found) and len(found) > 1 else ()


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


def by_process(timing: Timing, inside: Inside) -> Sequence[Doubles]:
    """Milliseconds of the requests that are `inside` [places], process by process."""
    processes = sorted({block.process for block in timing.blocks})
    return [
        np.array(
            [
                ns / 1e6
                for block in timing.blocks
                if block.process == process
                for ns, place in zip(block.ns, block.inputs, strict=True)
                if inside[place]
            ]
        )
        for process in processes
    ]
