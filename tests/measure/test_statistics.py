import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kd2deploy.errors import MeasureError
from kd2deploy.measure.intervals import Interval, TooFew
from kd2deploy.measure.statistics import (
    design_effect,
    mean_over_seeds,
    noise,
    percentile,
    ratio_of_medians,
    samples_needed,
    t_interval,
)


@pytest.mark.parametrize(
    ("allowed", "row"),
    [(0, (7, 44, 90, 459, 4603)), (1, (11, 64, 130, 662, 6636)), (5, (22, 127, 259, 1307, 13105))],
)
def test_the_samples_a_percentile_needs_are_those_of_the_binomial(allowed: int, row: tuple[int, ...]) -> None:
    assert tuple(samples_needed(share, allowed) for share in (0.5, 0.9, 0.95, 0.99, 0.999)) == row


def test_a_percentile_is_a_share() -> None:
    with pytest.raises(ValueError, match="between 0 and 1, got 99"):
        samples_needed(99)


def test_a_percentile_is_not_stated_from_too_few_samples() -> None:
    one_short = percentile([[np.arange(661.0)]], 0.99)
    assert one_short == TooFew(needs=662, has=661)
    assert str(one_short) == "n/a (needs 662)"
    assert isinstance(percentile([[np.arange(662.0)]], 0.99), Interval)


def test_the_median_of_one_to_a_hundred_lies_between_the_40th_and_the_61st() -> None:
    """The textbook's order-statistic interval: ranks 40 and 61 of 100."""
    assert percentile([[np.arange(1.0, 101.0)]], 0.5) == Interval(50.0, 40.0, 61.0)


def test_the_upper_end_of_p99_is_unbounded_where_all_slow_samples_came_at_once() -> None:
    quiet = [np.arange(50.0) for _ in range(13)]
    figure = percentile([[*quiet, np.concatenate([np.arange(40.0), np.arange(900.0, 910.0)])]], 0.99)
    assert isinstance(figure, Interval)
    assert math.isinf(figure.high)
    assert figure.to_json()["high"] is None


def test_samples_that_repeat_within_a_block_are_worth_one_each() -> None:
    rng = np.random.default_rng(0)
    levels = rng.standard_normal(200)
    assert design_effect([np.full(50, level) for level in levels], 0.0) == pytest.approx(50, rel=0.02)
    assert design_effect([rng.standard_normal(50) for _ in range(200)], 0.0) < 1.5


def test_the_ratio_of_a_hand_made_race() -> None:
    """Ratios 2, 2, 2 in three processes; then 2, 4, 8: mean log 4, Student's reach 4.303 log 2 / sqrt 3."""
    slow = [[np.array([2.0, 2.0, 9.0])] * 2] * 3
    fast = [[np.array([1.0, 1.0, 0.1])] * 2] * 3
    exact = ratio_of_medians(slow, fast)
    assert (exact.interval.low, exact.interval.high) == pytest.approx((2.0, 2.0))
    assert exact.covers_processes
    spread = ratio_of_medians([[np.array([ratio])] * 4 for ratio in (2.0, 4.0, 8.0)], [[np.array([1.0])] * 4] * 3)
    reach = 4.302653 * math.log(2) / math.sqrt(3)
    assert spread.interval.estimate == pytest.approx(4.0)
    assert spread.interval.low == pytest.approx(4 * math.exp(-reach), rel=1e-6)
    assert spread.per_process == pytest.approx((2.0, 4.0, 8.0))


def test_a_burst_in_one_round_does_not_move_the_ratio() -> None:
    slow = [[np.array([2.0])] * 6 for _ in range(3)]
    burst = [[np.array([1.0])] * 5 + [np.array([50.0])] for _ in range(3)]
    assert ratio_of_medians(slow, burst).interval.estimate == pytest.approx(2.0)


def test_one_process_gives_an_interval_that_says_what_it_lacks() -> None:
    rng = np.random.default_rng(0)
    slow, fast = ([[scale * rng.lognormal(0, 0.05, 30) for _ in range(16)]] for scale in (2.0, 1.0))
    found = ratio_of_medians(slow, fast)
    assert found.interval.holds(2.0)
    assert not found.covers_processes


def test_a_ratio_needs_two_rounds() -> None:
    with pytest.raises(MeasureError, match="two rounds"):
        ratio_of_medians([[np.ones(5)]], [[np.ones(5)]])


@given(arrays(np.float64, (3, 4, 5), elements=st.floats(0.1, 100.0)), st.floats(0.5, 20.0))
def test_the_ratio_scales_with_the_latency_and_turns_over_with_the_roles(samples: np.ndarray, factor: float) -> None:
    ones = [[np.ones(5)] * 4] * 3
    raced = [list(process) for process in samples]
    found = ratio_of_medians(raced, ones).interval
    scaled = ratio_of_medians([[factor * block for block in process] for process in raced], ones).interval
    turned = ratio_of_medians(ones, raced).interval
    assert scaled.estimate == pytest.approx(factor * found.estimate)
    assert (1 / turned.high, 1 / turned.low) == pytest.approx((found.low, found.high), rel=1e-6)


@given(arrays(np.float64, st.integers(64, 300), elements=st.floats(0.1, 100.0)), st.sampled_from([0.5, 0.9]))
def test_a_percentile_lies_within_its_interval(samples: np.ndarray, share: float) -> None:
    figure = percentile([list(np.array_split(samples, 6))], share)
    assert isinstance(figure, Interval)
    assert figure.low <= figure.estimate <= figure.high
    assert np.mean(samples <= figure.estimate) >= share


def test_the_mean_over_seeds_is_students() -> None:
    """1, 2, 3: mean 2, deviation 1, t(0.975, 2) = 4.302653."""
    found = mean_over_seeds([1.0, 2.0, 3.0])
    assert found.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert math.isinf(t_interval(np.array([1.0])).high)


@pytest.mark.parametrize("values", [[0.02, 0.02], [0.82 - 0.80, 0.72 - 0.70, 0.92 - 0.90], [0.0, 0.0]])
def test_seeds_that_agree_to_the_digit_show_no_spread_and_prove_nothing(values: list[float]) -> None:
    found = mean_over_seeds(values)
    assert found.estimate == pytest.approx(values[0])
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_noise_is_flagged_but_inputs_of_different_size_are_not_noise() -> None:
    rng = np.random.default_rng(0)
    inputs = np.tile(np.arange(4), 50)
    steady = (1.0 + inputs) * (1 + 0.01 * rng.standard_normal(200))
    assert noise(steady, inputs).flags == ()
    assert noise(steady).cv > 0.3
    disturbed = steady.copy()
    disturbed[rng.random(200) < 0.7] *= 2
    flags = noise(disturbed, inputs).flags
    assert "CV" in flags[0]
    assert "something else uses the machine" in flags[1]
