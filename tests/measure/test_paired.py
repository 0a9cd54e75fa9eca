import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from measured_sessions import Parity

from kd2deploy.core import Scores
from kd2deploy.errors import MeasureError
from kd2deploy.measure.paired import (
    bootstrap,
    bootstrap_difference,
    bootstrap_retention,
    gap_closed,
    paired_difference,
    paired_retention,
    score_difference,
    score_retention,
    share_of,
)


def share(right: np.ndarray) -> Any:
    """The share of right answers at given places."""
    return lambda places: float(np.mean(right[places]))


def scores(correct: np.ndarray, examples: str = "the same", binary: bool = True) -> Scores:
    metrics = {"accuracy": float(correct.mean())}
    return Scores(metrics, {"correct": correct}, examples, correct if binary else None)


def test_the_difference_of_a_hand_made_table() -> None:
    """100 pairs, 8 and 2 discordant: 9/102 and 3/102, difference 6/102, variance (12/102 - (6/102)^2) / 102."""
    one, other = np.ones(100), np.ones(100)
    other[:8] = 0
    one[8:10] = 0
    found = paired_difference(one, other)
    reach = 1.959964 * math.sqrt((12 / 102 - (6 / 102) ** 2) / 102)
    assert found.estimate == pytest.approx(0.06)
    assert (found.low, found.high) == pytest.approx((6 / 102 - reach, 6 / 102 + reach), rel=1e-6)


def test_no_discordant_pair_is_not_certainty() -> None:
    same = np.ones(1000)
    found = paired_difference(same, same)
    assert found.estimate == 0
    assert (found.low, found.high) == pytest.approx((-0.00277, 0.00277), abs=1e-4)
    kept = paired_retention(same, same)
    assert kept.low < 1 < kept.high


@pytest.mark.parametrize(("up", "down"), [(0.0, 0.02), (0.03, 0.05), (0.01, 0.01), (0.1, 0.2)])
def test_paired_intervals_cover_the_truth(up: float, down: float) -> None:
    """2,000 evaluation sets of 400 pairs: both right 60 %, `up` and `down` discordant."""
    rng = np.random.default_rng(0)
    hits, kept = [], []
    for cells in rng.multinomial(400, [0.6, up, down, 0.4 - up - down], size=2000):
        one = np.repeat([1.0, 1.0, 0.0, 0.0], cells)
        other = np.repeat([1.0, 0.0, 1.0, 0.0], cells)
        hits.append(paired_difference(one, other).holds(up - down))
        kept.append(paired_retention(one, other).holds((0.6 + up) / (0.6 + down)))
    assert 0.94 <= np.mean(hits) <= 0.99
    assert 0.93 <= np.mean(kept) <= 0.99


@given(arrays(np.int64, (2, 30), elements=st.integers(0, 1)))
def test_the_difference_turns_its_sign_with_the_roles(pairs: np.ndarray) -> None:
    there, back = paired_difference(pairs[0], pairs[1]), paired_difference(pairs[1], pairs[0])
    assert (there.estimate, there.low, there.high) == pytest.approx((-back.estimate, -back.high, -back.low))


def test_the_bootstrap_agrees_with_the_pairs() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 500)
    teacher = np.where(rng.random(500) < 0.95, truth, 1 - truth)
    student = np.where(rng.random(500) < 0.90, truth, 1 - truth)
    drawn = bootstrap_difference(share(teacher == truth), share(student == truth), 500, np.random.default_rng(1))
    counted = paired_difference((teacher == truth).astype(float), (student == truth).astype(float))
    assert drawn.estimate == pytest.approx(counted.estimate)
    assert (drawn.low, drawn.high) == pytest.approx((counted.low, counted.high), abs=0.01)
    kept = bootstrap_retention(share(student == truth), share(teacher == truth), 500, np.random.default_rng(1))
    close = paired_retention((student == truth).astype(float), (teacher == truth).astype(float))
    assert (kept.low, kept.high) == pytest.approx((close.low, close.high), abs=0.01)


def test_the_bootstrap_covers_the_mean_of_a_small_sample() -> None:
    """Student's correction: 30 normal values; the plain percentile interval covers in about 93 of 100."""
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(600):
        values = rng.standard_normal(30)
        hits.append(bootstrap(lambda at, values=values: float(values[at].mean()), 30, rng, resamples=200).holds(0.0))
    assert 0.93 <= np.mean(hits) <= 0.97


def test_the_same_seed_gives_the_same_interval() -> None:
    truth = np.arange(50) % 2
    guess = np.where(np.arange(50) % 7 == 0, 1 - truth, truth)
    right = share(truth == truth), share(guess == truth)
    drawn = [bootstrap_difference(*right, 50, np.random.default_rng(3)) for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_the_gap_closed_lies_between_control_and_teacher() -> None:
    ease = np.random.default_rng(0).random(4000)
    teacher, student, control = (share(ease < right) for right in (0.95, 0.92, 0.85))
    found = gap_closed(student, teacher, control, 4000, np.random.default_rng(0))
    assert found.estimate == pytest.approx(0.7, abs=0.06)
    assert 0.5 < found.low < found.estimate < found.high < 0.9


def test_a_gap_that_may_be_none_has_no_share() -> None:
    right = share(np.ones(100))
    found = gap_closed(right, right, right, 100, np.random.default_rng(0), resamples=100)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_a_binary_task_is_compared_by_pairs_and_any_other_by_bootstrap() -> None:
    rng = np.random.default_rng(0)
    one, other = scores((rng.random(200) < 0.9).astype(float)), scores((rng.random(200) < 0.8).astype(float))
    pairs, drawn = Parity(), Parity(binary=False)
    means = [each.metrics["accuracy"] for each in (one, other)]
    assert score_difference(pairs, one, other, rng) == paired_difference(one.correct, other.correct)
    assert score_retention(pairs, one, other, rng) == paired_retention(one.correct, other.correct)
    one, other = (replace(each, correct=None) for each in (one, other))
    assert score_difference(drawn, one, other, rng).estimate == pytest.approx(means[0] - means[1])
    assert score_retention(drawn, one, other, rng).holds(means[0] / means[1])


def test_scores_of_different_examples_are_not_compared() -> None:
    one, other = scores(np.ones(10)), scores(np.ones(10), "others")
    with pytest.raises(MeasureError, match="different examples"):
        score_difference(Parity(), one, other, np.random.default_rng(0))


def test_a_metric_that_is_mostly_undefined_has_no_interval() -> None:
    with pytest.raises(MeasureError, match="give a larger evaluation set"):
        bootstrap(lambda at: math.nan, 10, np.random.default_rng(0), resamples=50)
    with pytest.raises(MeasureError, match="scores of 0 and 1"):
        paired_difference(np.full(5, 0.5), np.ones(5))


def test_a_share_of_right_answers_is_no_point_where_all_are_right() -> None:
    """Wilson's interval for 120 of 120: n / (n + z^2)."""
    found = share_of(np.ones(120, dtype=int))
    assert (found.estimate, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(120 / (120 + 1.959964**2))
    half = share_of(np.array([0, 1] * 60))
    assert half.low == pytest.approx(1 - half.high)


def test_a_share_of_nothing_is_no_figure() -> None:
    """The one network finds nothing in most resamples: what the other keeps of that is not known."""
    found = np.array([1.0] + [0.0] * 29)
    kept = bootstrap_retention(lambda at: 0.5, lambda at: float(found[at].mean()), 30, np.random.default_rng(0))
    assert (kept.low, kept.high) == (-math.inf, math.inf)
    with pytest.raises(MeasureError, match="undefined"):
        bootstrap_retention(lambda at: math.nan, lambda at: 1.0, 30, np.random.default_rng(0))
