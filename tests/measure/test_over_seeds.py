"""Intervals over seeds against cases worked out by hand, and against simulated trainings whose truth is known."""

import math

import numpy as np
import pytest
from small_text import small_task

from kd2deploy.core import Scores
from kd2deploy.errors import MeasureError
from kd2deploy.measure.over_seeds import (
    difference_over_examples,
    difference_over_seeds,
    gap_closed_over_seeds,
    ratio_over_seeds,
    score_over_seeds,
)
from kd2deploy.tasks.text_classification import TextClassification

T_FOR_TWO_DEGREES = 4.302652729749464


def test_a_difference_is_paired_by_seed():
    found = difference_over_seeds([0.81, 0.72, 0.93], [0.80, 0.70, 0.90])
    reach = T_FOR_TWO_DEGREES * 0.01 / math.sqrt(3)
    assert found.estimate == pytest.approx(0.02)
    assert (found.low, found.high) == (pytest.approx(0.02 - reach), pytest.approx(0.02 + reach))


def test_one_seed_tells_nothing():
    found = difference_over_seeds([0.9], [0.1])
    assert found.estimate == pytest.approx(0.8)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert gap_closed_over_seeds([0.9], [0.8], 1.0) is None
    ratio = ratio_over_seeds([4.0], [2.0])
    assert (ratio.estimate, ratio.low, ratio.high) == (pytest.approx(2.0), 0.0, math.inf)


def test_a_ratio_is_the_geometric_mean_of_the_pairs():
    assert ratio_over_seeds([2.0, 8.0], [1.0, 1.0]).estimate == pytest.approx(4.0)
    even = ratio_over_seeds([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (even.low, even.high) == (pytest.approx(2.0), pytest.approx(2.0))


def test_half_of_an_even_gap_is_closed():
    found = gap_closed_over_seeds([0.80, 0.82, 0.78], [0.70, 0.72, 0.68], 0.90)
    assert found is not None
    assert found.estimate == pytest.approx(0.5)
    assert found.low < 0.5 < found.high


def test_a_gap_to_controls_that_agree_to_the_digit_is_not_sure():
    assert gap_closed_over_seeds([0.80, 0.80], [0.70, 0.70], 0.90) is None
    assert gap_closed_over_seeds([0.80, 0.80], [0.70, 0.71], 0.90) is not None


def test_no_share_is_stated_of_a_gap_that_is_not_sure():
    controls = [0.80, 0.90, 0.70]
    assert gap_closed_over_seeds([0.85, 0.91, 0.77], controls, 0.82) is None
    assert gap_closed_over_seeds([0.85, 0.91, 0.77], controls, 0.10) is None


def test_the_interval_of_the_gap_closed_covers_the_truth_in_95_of_100_comparisons():
    drawn = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        controls = 0.70 + 0.01 * drawn.standard_normal(5)
        students = 0.76 + 0.01 * drawn.standard_normal(5)
        found = gap_closed_over_seeds(list(students), list(controls), 0.80)
        covered += found is not None and found.holds(0.6)
    assert 930 <= covered <= 970


def scores(correct: list[int]) -> Scores:
    right = np.array(correct, dtype=float)
    return Scores({"accuracy": float(np.mean(right))}, {"correct": right}, f"{len(right)} rows", right)


def test_a_difference_over_examples_is_paired_by_example_and_averaged_over_seeds():
    ours = [scores([1, 1, 1, 0]), scores([1, 1, 0, 0])]
    theirs = [scores([1, 0, 0, 0]), scores([1, 0, 0, 0])]
    found = difference_over_examples(small_task(), ours, theirs, np.random.default_rng(0))
    differences = np.array([0.0, 1.0, 0.5, 0.0])
    assert found.estimate == pytest.approx(differences.mean())
    assert found.half_width == pytest.approx(3.182446305284263 * differences.std(ddof=1) / 2)


def test_other_metrics_are_resampled_over_examples():
    task = TextClassification(labels=(), max_length=16)
    drawn = np.random.default_rng(0)
    truth = drawn.standard_normal(300)

    def answered(noise: float) -> Scores:
        predictions = truth + noise * drawn.standard_normal(300)
        return task.metric.score({"logits": predictions[:, None]}, [{"label": value} for value in truth])

    ours, theirs = [answered(0.3), answered(0.3)], [answered(1.0), answered(1.0)]
    found = difference_over_examples(task, ours, theirs, np.random.default_rng(0))
    means = [np.mean([one.metrics["spearman"] for one in group]) for group in (ours, theirs)]
    assert found.estimate == pytest.approx(means[0] - means[1])
    assert 0 < found.low < found.estimate < found.high
    same = difference_over_examples(task, ours, ours, np.random.default_rng(0))
    assert (same.low, same.estimate, same.high) == (0, 0, 0)


def test_trainings_scored_on_other_examples_are_refused():
    one, other = scores([1, 0, 1]), scores([1, 0])
    with pytest.raises(MeasureError, match="same evaluation set"):
        difference_over_examples(small_task(), [one], [other], np.random.default_rng(0))


def test_no_interval_over_seeds_leaves_what_is_possible() -> None:
    mean = score_over_seeds([0.99, 0.90, 0.999], share=True)
    assert mean.low > 0.7
    assert mean.high == 1.0
    assert score_over_seeds([0.99, 0.90, 0.999], share=False).high > 1.0
    assert score_over_seeds([0.01, 0.10, 0.001], share=True).low == 0.0
    gain = difference_over_seeds([1.0, 0.9], [0.1, 0.2], share=True)
    assert gain.high == 1.0
    assert math.isinf(difference_over_seeds([0.9], [0.1], share=True).high), "what one seed does not bound stays open"
