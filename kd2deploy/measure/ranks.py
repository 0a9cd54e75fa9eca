"""Methods over several data sets by their mean ranks: which differ by more than the data sets' own disagreement.

Source: Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006: Friedman's test, then
Nemenyi's critical difference of mean ranks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

ALPHA = 0.05
LEAST_SETS, LEAST_METHODS = 2, 3
"""With fewer there is nothing to test."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranks:
    mean: tuple[float, ...]
    """Of each method over the data sets; 1 is the best, equal scores share their ranks."""
    critical_difference: float | None
    """Two mean ranks that lie farther apart differ at 5 %, all pairs allowed for."""
    p_value: float | None
    """Friedman's: how likely such ranks are if all methods are alike."""


def ranked(worths: Doubles) -> Ranks:
    """`worths` [data sets, methods], higher is better. Raises ValueError where one is missing."""
    if worths.ndim != 2 or 0 in worths.shape or not np.isfinite(worths).all():
        raise ValueError("ranks are of a table of finite numbers: a row for each data set, a column for each method")
    sets, methods = worths.shape
    ranks = stats.rankdata(-worths, axis=1)
    mean = tuple(float(value) for value in ranks.mean(axis=0))
    if sets < LEAST_SETS or methods < LEAST_METHODS:
        return Ranks(mean, None, None)
    alike = bool((worths == worths[:, :1]).all())
    p_value = 1.0 if alike else float(stats.friedmanchisquare(*worths.T).pvalue)
    return Ranks(mean, critical_difference(methods, sets), p_value)


def critical_difference(methods: int, sets: int, alpha: float = ALPHA) -> float:
    """Nemenyi's, for two-sided comparisons of all pairs."""
    q = stats.studentized_range.ppf(1 - alpha, methods, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(methods * (methods + 1) / (6 * sets)))


def not_apart(mean: Sequence[float], difference: float) -> list[tuple[int, ...]]:
    """The largest groups of places whose mean ranks lie within the difference, two or more each, the best first."""
    order = sorted(range(len(mean)), key=lambda place: mean[place])
    groups: list[tuple[int, ...]] = []
    reach = -1  # of the groups so far
    for start in range(len(order)):
        last = max(at for at in range(start, len(order)) if mean[order[at]] - mean[order[start]] <= difference)
        if last > max(start, reach):
            groups.append(tuple(order[start : last + 1]))
            reach = last
    return groups
