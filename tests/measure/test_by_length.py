from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kd2deploy.measure.by_length import median_per, medians_by_length, speedup_by_length
from kd2deploy.measure.timing import Block, Timing

SIZES = (8,) * 10 + (400,) * 10
REST: Any = (0.0, 0.0, 0.0, 0.0)


def timing(
    short_ms: float, long_ms: float, processes: int = 5, sizes: tuple[int, ...] = SIZES, **changes: Any
) -> Timing:
    """Every request ten times in each process, one per cent of noise; long requests take another time than short."""
    rng = np.random.default_rng(int(1000 * short_ms))
    blocks = []
    for process in range(processes):
        places = tuple(range(len(sizes))) * 10
        means = [short_ms if sizes[place] == min(sizes) else long_ms for place in places]
        ns = tuple(int(1e6 * mean * (1 + 0.01 * rng.standard_normal())) for mean in means)
        blocks.append(Block(process, 0, 0, ns, places, *REST))
    return Timing("one", tuple(blocks), sizes=sizes, settled=True, **changes)


def test_what_is_faster_for_short_inputs_and_slower_for_long_ones_is_shown() -> None:
    """Half of the requests hold 8 elements, half 400: the median of all of them hides the slower half."""
    short, long = speedup_by_length(timing(4.0, 20.0), timing(1.0, 25.0))
    assert (short.smallest, short.largest, short.requests) == (8, 8, 10)
    assert (long.smallest, long.largest, long.requests) == (400, 400, 10)
    assert short.ratio.value == pytest.approx(4.0, rel=0.01)
    assert long.ratio.value == pytest.approx(0.8, rel=0.01)
    assert short.ratio.low is not None
    assert short.ratio.low > 3.9
    assert long.ratio.high is not None
    assert long.ratio.high < 0.85
    assert (long.slow_ms, long.fast_ms) == (pytest.approx(20, rel=0.01), pytest.approx(25, rel=0.01))


def test_a_median_is_told_for_a_unit_of_size_whatever_the_sizes_of_the_requests() -> None:
    """400 elements take fifty times as long as 8: each thousand takes as long."""
    found = median_per(timing(0.8, 40.0), 1000)
    assert found.value == pytest.approx(100, rel=0.01)
    assert found.low is not None
    assert 99 < found.low <= found.value


def test_each_third_of_the_requests_has_its_row() -> None:
    sizes = tuple(range(10, 40))
    groups = speedup_by_length(timing(2.0, 2.0, sizes=sizes), timing(1.0, 1.0, sizes=sizes))
    assert [one.requests for one in groups] == [10, 10, 10]
    assert groups[0].largest < groups[1].smallest


@pytest.mark.parametrize(
    "fast",
    [
        timing(1.0, 1.0, sizes=(100,) * 10 + (120,) * 10),
        Timing("one", failure="out of memory"),
        timing(1.0, 1.0, sizes=(8, 400)),
    ],
    ids=["nearly alike", "failed", "other requests"],
)
def test_groups_that_would_tell_nothing_are_not_made(fast: Timing) -> None:
    assert speedup_by_length(timing(4.0, 20.0), fast) == ()


def test_each_contender_has_its_median_in_the_same_thirds() -> None:
    """The network's own size of a row does not matter: requests are as long as they are for what is deployed."""
    deployed, batches = timing(1.0, 25.0), tuple(4 * size for size in SIZES)
    slow = replace(timing(4.0, 20.0), sizes=(7,) * 20)
    for of in (deployed, replace(deployed, sizes=batches, batch=4)):
        short, long = medians_by_length(slow, of)
        assert (short.smallest, short.largest, long.smallest, long.requests) == (8, 8, 400, 10)
        assert short.median.value == pytest.approx(4.0, rel=0.01)
        assert long.median.value == pytest.approx(20.0, rel=0.01)
        assert short.median.low is not None
        assert short.median.low > 3.9
    assert medians_by_length(slow, timing(1.0, 1.0, sizes=(100,) * 10 + (120,) * 10)) == ()
    assert medians_by_length(slow, Timing("one", failure="out of memory")) == ()


def test_two_processes_do_not_bound_a_ratio() -> None:
    short, _ = speedup_by_length(timing(4.0, 20.0, processes=2), timing(1.0, 25.0, processes=2))
    assert (short.ratio.low, short.ratio.high) == (0.0, None)
