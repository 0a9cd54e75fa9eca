import itertools
from collections.abc import Callable

import numpy as np
import pytest

from kd2deploy.measure.loop import has_settled, spread_order, timed, warm_up

FEEDS = [{"x": np.full(1, place)} for place in range(4)]


class Machine:
    """A clock that only moves when something runs: `cost` gives the nanoseconds of the nth run."""

    def __init__(self, cost: Callable[[int, int], int]) -> None:
        self.now, self.runs, self.cost = 0, 0, cost

    def clock(self) -> int:
        return self.now

    def run(self, feed: dict[str, np.ndarray]) -> None:
        self.now += self.cost(self.runs, int(feed["x"][0]))
        self.runs += 1


def test_each_sample_is_the_time_of_its_own_input() -> None:
    machine = Machine(lambda turn, place: 100 + place)
    found = timed(machine.run, FEEDS, runs=6, start=3, clock=machine.clock, cpu_clock=lambda: 2 * machine.now)
    assert found.inputs == [3, 0, 1, 2, 3, 0]
    assert found.ns == [103, 100, 101, 102, 103, 100]
    assert found.wall_s == pytest.approx(609e-9)
    assert found.cpu_s == pytest.approx(2 * 609e-9)


def test_warm_up_lasts_for_the_time_and_the_count() -> None:
    slow, fast = Machine(lambda turn, place: 50_000_000), Machine(lambda turn, place: 1_000_000)
    assert len(warm_up(slow.run, FEEDS, seconds=0.2, runs=10, settle=False, clock=slow.clock)) == 10
    assert len(warm_up(fast.run, FEEDS, seconds=0.2, runs=10, settle=False, clock=fast.clock)) == 200


def test_warm_up_goes_on_until_the_median_settles() -> None:
    machine = Machine(lambda turn, place: 10_000_000 * max(1, 40 - turn))
    ns = warm_up(machine.run, FEEDS, seconds=2.0, runs=10, settle=True, clock=machine.clock)
    assert len(ns) >= 45
    assert ns[-5:] == [10_000_000] * 5


def test_warm_up_gives_up_on_a_machine_that_never_settles() -> None:
    steps = itertools.cycle([1, 1, 1, 1, 1, 9, 9, 9, 9, 9])
    machine = Machine(lambda turn, place: 1_000_000 * next(steps))
    ns = warm_up(machine.run, FEEDS, seconds=0.05, runs=10, settle=True, clock=machine.clock)
    assert sum(ns) <= (5 * 0.05 + 0.01) * 1e9


def test_ten_runs_settle_and_nine_cannot() -> None:
    assert has_settled([100] * 10)
    assert not has_settled([100] * 9)
    assert not has_settled([100] * 5 + [110] * 5)


def test_every_stretch_of_the_inputs_holds_small_and_large_ones() -> None:
    sizes = list(range(256))
    order = spread_order(sizes)
    assert sorted(order) == sizes
    medians = [np.median([sizes[place] for place in order[start : start + 9]]) for start in range(247)]
    assert min(medians) > 90
    assert max(medians) < 166
