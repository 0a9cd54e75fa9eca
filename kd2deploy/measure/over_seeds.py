"""Intervals for what a method brings over another when both were trained with several seeds.

The seed is the unit: trainings with the same seed are paired, and Student's t goes over the pairs. Such an interval is
about another seed on the same data, teacher, start and evaluation set. `difference_over_examples` is the other half:
the same trainings on another draw of the evaluation set.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from kd2deploy.core import Scores, Task
from kd2deploy.measure.intervals import Interval
from kd2deploy.measure.paired import CONFIDENCE, bootstrap, check_same_examples, worth_at
from kd2deploy.measure.statistics import ROUNDING, geometric_mean, mean_over_seeds, t_interval

RESAMPLES = 500


def score_over_seeds(scores: Sequence[float], share: bool) -> Interval:
    """Mean of a metric over the seeds; of a `share` without what lies outside of 0..1."""
    known = mean_over_seeds(scores)
    return known.within(0.0, 1.0) if share else known


def difference_over_seeds(ours: Sequence[float], theirs: Sequence[float], share: bool = False) -> Interval:
    """Mean of `ours` - `theirs`, what they are worth, seed by seed.

    Endless for a single seed, and where all seeds differ by the same.

    Of two shares without what cannot be: nothing is gained beyond 1, and no more lost than there was.
    """
    known = mean_over_seeds([one - other for one, other in zip(ours, theirs, strict=True)])
    return known.within(-1.0, 1.0) if share else known


def ratio_over_seeds(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Geometric mean of `ours` / `theirs`, seed by seed; both positive. Unbounded above for a single seed."""
    return geometric_mean(np.array([one / other for one, other in zip(ours, theirs, strict=True)]))


def gap_closed_over_seeds(
    students: Sequence[float], controls: Sequence[float], teacher: float, confidence: float = CONFIDENCE
) -> Interval | None:
    """mean(student - control) / mean(teacher - control) of what they are worth.

    None where the teacher is not surely better than the control.

    Source: Fieller, "Some problems in interval estimation", 1954: the shares that a t test over the pairs does not
    reject. It is bounded just where the gap is surely not zero; of controls that are all equal that is not known.
    """
    if len(students) < 2 or np.ptp(controls) <= ROUNDING:
        return None
    gained = np.asarray(students) - np.asarray(controls)
    gap = teacher - np.asarray(controls)
    t2 = stats.t.ppf((1 + confidence) / 2, len(gained) - 1) ** 2 / len(gained)
    (vary_gained, together), (_, vary_gap) = np.cov(gained, gap)
    a = gap.mean() ** 2 - t2 * vary_gap
    if gap.mean() <= 0 or a <= 0:
        return None
    b = gained.mean() * gap.mean() - t2 * together
    c = gained.mean() ** 2 - t2 * vary_gained
    reach = math.sqrt(max(0.0, b * b - a * c))
    return Interval(float(gained.mean() / gap.mean()), (b - reach) / a, (b + reach) / a)


def difference_over_examples(
    task: Task, ours: Sequence[Scores], theirs: Sequence[Scores], rng: np.random.Generator
) -> Interval:
    """By how much `ours` are better than `theirs` on the mean over the seeds, with an interval over examples: these
    trainings, on another draw of the evaluation set."""
    check_same_examples(*ours, *theirs)
    right = [[one.correct for one in group if one.correct is not None] for group in (ours, theirs)]
    if all(right):
        return t_interval(np.mean(right[0], axis=0) - np.mean(right[1], axis=0))
    each = [[worth_at(task, scores) for scores in group] for group in (ours, theirs)]

    def difference(at: NDArray[np.int64]) -> float:
        one, other = (np.mean([worth(at) for worth in group]) for group in each)
        return float(one - other)

    return bootstrap(difference, len(ours[0]), rng, RESAMPLES)
