"""The timing loop: one callable, its inputs, a clock. It knows no model, no runtime and no statistics.

What one sample includes: everything from the host arrays of one request to the host arrays of its answer, because
`run` blocks until the outputs are there. The same clock and the same two reads stand around every runtime.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Clock = Callable[[], int]
"""Nanoseconds from any origin, never going back."""
Given = TypeVar("Given")
"""What one run is given: a session its arrays, a whole request its rows."""

SETTLED_SHARE = 0.05
"""Warm-up is over when the medians of its last two groups of runs differ by less than this."""
SETTLING_GROUP = 5
PATIENCE = 5
"""Settling may take this many times the warm-up's own time; a machine that never settles is measured as it is."""


@dataclass(frozen=True, slots=True)
class Samples:
    """One block of runs: nanoseconds per run, and which input each run was given."""

    ns: list[int]
    inputs: list[int]
    cpu_s: float | None
    """Processor time of the whole process over the block, all its threads; None where it is not the one that works."""
    wall_s: float


def timed(
    run: Callable[[Given], Any],
    feeds: Sequence[Given],
    *,
    runs: int,
    start: int = 0,
    clock: Clock = time.perf_counter_ns,
    cpu_clock: Clock | None = time.process_time_ns,
) -> Samples:
    """Nanoseconds of `runs` calls, walking round `feeds` from place `start`."""
    places = [(start + turn) % len(feeds) for turn in range(runs)]
    ns: list[int] = []
    cpu, begun = cpu_clock() if cpu_clock else 0, clock()
    for place in places:
        feed = feeds[place]
        before = clock()
        run(feed)
        ns.append(clock() - before)
    cpu_s = (cpu_clock() - cpu) / 1e9 if cpu_clock else None
    return Samples(ns, places, cpu_s, (clock() - begun) / 1e9)


def warm_up(
    run: Callable[[Given], Any],
    feeds: Sequence[Given],
    *,
    seconds: float,
    runs: int,
    settle: bool,
    start: int = 0,
    clock: Clock = time.perf_counter_ns,
) -> list[int]:
    """Run for at least `seconds` and at least `runs` calls; with `settle`, until the median stops moving or patience
    ends. Returns the nanoseconds of every call, so that the caller can size its blocks."""
    ns: list[int] = []
    begun = clock()
    while True:
        before = clock()
        run(feeds[(start + len(ns)) % len(feeds)])
        ns.append(clock() - before)
        spent = (clock() - begun) / 1e9
        if spent < seconds or len(ns) < runs:
            continue
        if not settle or has_settled(ns) or spent > PATIENCE * seconds:
            return ns


def has_settled(ns: Sequence[int]) -> bool:
    """Whether the last two groups of runs have the same median, within `SETTLED_SHARE`."""
    if len(ns) < 2 * SETTLING_GROUP:
        return False
    last, before = sorted(ns[-SETTLING_GROUP:]), sorted(ns[-2 * SETTLING_GROUP : -SETTLING_GROUP])
    middle = SETTLING_GROUP // 2
    return abs(last[middle] - before[middle]) <= SETTLED_SHARE * before[middle]


def spread_order(sizes: Sequence[int]) -> list[int]:
    """An order of the inputs in which every stretch holds small, middling and large ones alike.

    Sorted by size, then visited by golden-ratio steps (a low-discrepancy sequence): so a block's median does not depend
    on which stretch of the inputs it happened to time.
    """
    golden = (5**0.5 - 1) / 2
    by_size = sorted(range(len(sizes)), key=lambda place: (sizes[place], place))
    keys = [(rank * golden) % 1.0 for rank in range(len(sizes))]
    visits = sorted(range(len(sizes)), key=lambda turn: keys[turn])
    ranks = [0] * len(sizes)
    for rank, turn in enumerate(visits):
        ranks[turn] = rank
    return [by_size[rank] for rank in ranks]
