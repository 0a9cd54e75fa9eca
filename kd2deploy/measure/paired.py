"""Intervals for what one artifact scores less than another on the same examples: always paired."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from kd2deploy.core import Scores, Task
from kd2deploy.errors import MeasureError
from kd2deploy.measure.intervals import Interval

Array = np.ndarray[Any, Any]
Doubles = NDArray[np.float64]
Statistic = Callable[[Array], float]
"""A figure of the examples at these places."""

RESAMPLES = 2000
CONFIDENCE = 0.95


def score_difference(task: Task, one: Scores, other: Scores, rng: np.random.Generator) -> Interval:
    """By how much `one` is better than `other` on the same examples, in the headline's unit; a drop is teacher first,
    then student.

    Shares of right answers are compared by discordant pairs, all other headlines by paired bootstrap.
    """
    check_same_examples(one, other)
    if one.correct is not None and other.correct is not None:
        return paired_difference(one.correct, other.correct)
    return bootstrap_difference(worth_at(task, one), worth_at(task, other), len(one), rng)


def score_retention(task: Task, one: Scores, other: Scores, rng: np.random.Generator) -> Interval:
    """Headline of `one` over headline of `other`, same examples: student first, then teacher.

    Where lower is better it is the other way round, so that more is better all the same.
    """
    check_same_examples(one, other)
    if one.correct is not None and other.correct is not None:
        return paired_retention(one.correct, other.correct)
    mine, theirs = (headline_at(task, scores) for scores in (one, other))
    if task.metric.higher_is_better:
        return bootstrap_retention(mine, theirs, len(one), rng)

    def kept(at: Array) -> float:
        return theirs(at) / mine(at) if mine(at) else 1.0  # who makes no errors keeps everything

    return bootstrap(kept, len(one), rng)


def headline_at(task: Task, scores: Scores) -> Statistic:
    """The headline of the examples at given places."""
    return lambda places: task.metric.at(scores.statistics, places)


def worth_at(task: Task, scores: Scores) -> Statistic:
    """The same as a number that is larger where it is better."""
    return lambda places: task.metric.worth(task.metric.at(scores.statistics, places))


def paired_difference(one: Array, other: Array, confidence: float = CONFIDENCE) -> Interval:
    """Mean of `one` - `other` for paired 0/1 scores [N]; at 0 discordant pairs it is narrow, and not a point.

    Source: Bonett and Price, "Adjusted Wald intervals for a difference of binomial proportions based on paired data",
    2012: one pseudo-pair is added to either discordant cell (after Agresti and Min, 2005).
    """
    _check_binary(one, other)
    examples = len(one)
    up = (np.count_nonzero(one > other) + 1) / (examples + 2)
    down = (np.count_nonzero(one < other) + 1) / (examples + 2)
    reach = _z(confidence) * math.sqrt((up + down - (up - down) ** 2) / (examples + 2))
    return Interval(float(np.mean(one) - np.mean(other)), max(-1.0, up - down - reach), min(1.0, up - down + reach))


def paired_retention(one: Array, other: Array, confidence: float = CONFIDENCE) -> Interval:
    """Mean of `one` / mean of `other` for paired 0/1 scores [N].

    Delta method on the logarithm, with the same two pseudo-pairs and one more pair that both answer rightly. Ours.
    """
    _check_binary(one, other)
    both = np.count_nonzero((one > 0) & (other > 0)) + 1
    ones, others = np.count_nonzero(one > 0) + 2, np.count_nonzero(other > 0) + 2
    centre = math.log(ones / others)
    reach = _z(confidence) * math.sqrt(max(0.0, (ones + others - 2 * both) / (ones * others)))
    estimate = float(np.mean(one) / np.mean(other)) if np.mean(other) > 0 else math.nan
    return Interval(estimate, math.exp(centre - reach), math.exp(centre + reach))


def share_of(correct: Array, confidence: float = CONFIDENCE) -> Interval:
    """Mean of 0/1 scores [N] with the score interval of a proportion.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    _check_binary(correct, correct)
    hits = int(np.count_nonzero(correct))
    known = stats.binomtest(hits, len(correct)).proportion_ci(confidence, method="wilson")
    return Interval(hits / len(correct), float(known.low), float(known.high))


def bootstrap_difference(
    one: Statistic, other: Statistic, examples: int, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Interval:
    """one - other, resampling examples in pairs."""
    return bootstrap(lambda at: one(at) - other(at), examples, rng, resamples)


def bootstrap_retention(
    one: Statistic, other: Statistic, examples: int, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Interval:
    """one / other, resampling examples in pairs.

    Endless to both sides where the other is often worth nothing: a share of nothing is no figure.
    """

    def share(at: Array) -> float:
        return _over(one(at), other(at))

    try:
        return bootstrap(share, examples, rng, resamples)
    except MeasureError:
        if bootstrap(other, examples, rng, resamples).low > 0:
            raise
        return Interval(share(np.arange(examples)), -math.inf, math.inf)


def gap_closed(
    student: Statistic,
    teacher: Statistic,
    control: Statistic,
    examples: int,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Interval:
    """(student - control) / (teacher - control) of what they are worth, resampling examples.

    Endless to both sides where the teacher is not surely better than the control: a share of no gap is no figure.
    """

    def gap(at: Array) -> float:
        return teacher(at) - control(at)

    def share(at: Array) -> float:
        return _over(student(at) - control(at), gap(at))

    seed = int(rng.integers(2**63))
    whole = bootstrap(gap, examples, np.random.default_rng(seed), resamples)
    if whole.low <= 0:
        return Interval(share(np.arange(examples)), -math.inf, math.inf)
    return bootstrap(share, examples, np.random.default_rng(seed), resamples)


def bootstrap(statistic: Statistic, examples: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> Interval:
    """A statistic of all examples with its 95 % expanded percentile interval.

    Source: Hesterberg, "What teachers should know about the bootstrap", 2015, section 5: the percentile interval is too
    narrow in small samples by Student's t against the normal and by sqrt(n / (n - 1)); its tail is set to make up for
    both. Resamples in which the statistic is undefined (NaN: a class is missing) are left out; more than a tenth of
    them raise MeasureError.
    """
    if examples < 2:
        raise MeasureError(f"an interval needs at least two examples, got {examples}")
    drawn = np.array([statistic(rng.integers(0, examples, examples)) for _ in range(resamples)], dtype=np.float64)
    kept = drawn[~np.isnan(drawn)]
    if len(kept) < 0.9 * resamples:
        raise MeasureError(
            f"the metric is undefined in {1 - len(kept) / resamples:.0%} of resamples of {examples} examples; "
            "give a larger evaluation set"
        )
    t = stats.t.ppf((1 + CONFIDENCE) / 2, examples - 1)
    tail = float(stats.norm.cdf(-t * math.sqrt(examples / (examples - 1))))
    low, high = np.quantile(kept, [tail, 1 - tail])
    return Interval(float(statistic(np.arange(examples))), float(low), float(high))


def _over(one: float, other: float) -> float:
    return one / other if other else math.nan


@cache
def _z(confidence: float) -> float:
    return float(stats.norm.ppf((1 + confidence) / 2))


def _check_binary(one: Array, other: Array) -> None:
    if one.shape != other.shape or one.ndim != 1 or not len(one):
        raise MeasureError(f"paired scores must be two equal vectors of examples, got {one.shape} and {other.shape}")
    if not np.isin(one, (0, 1)).all() or not np.isin(other, (0, 1)).all():
        raise MeasureError("discordant pairs are counted on scores of 0 and 1; use the paired bootstrap for others")


def check_same_examples(*all_: Scores) -> None:
    """Raises MeasureError unless all were scored on the same examples."""
    if len({scores.examples for scores in all_}) > 1:
        raise MeasureError("two artifacts were scored on different examples; score both on the same evaluation set")
