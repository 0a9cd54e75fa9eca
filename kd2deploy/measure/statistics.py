"""Percentiles and ratios of latencies with intervals that hold for correlated, drifting and many-peaked samples.

Two ideas carry all of it. (1) A percentile's interval is made of order statistics, whose ranks follow from how much the
share of samples below it differs between processes, or from how many *independent* samples these are worth. (2) A ratio
is estimated once per independent cluster (a process; or a stretch of rounds where there are not three processes), and
the estimates go through Student's t, which stays right with few and unequal clusters and is exact for equal ones.

Source: for the sample counts, MLPerf Inference's early stopping (Reddi et al., "MLPerf Inference Benchmark", 2020,
arXiv:1911.02549); for (1), Woodruff, "Confidence intervals for medians and other position measures", 1952, and Kish's
design effect; for (2), Ibragimov and Mueller, "t-statistic based correlation and heterogeneity robust inference", 2010.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from kd2deploy.core.figures import figure
from kd2deploy.errors import MeasureError
from kd2deploy.measure.intervals import Figure, Interval, TooFew

Doubles = NDArray[np.float64]
Process = Sequence[Doubles]
"""The samples of one process, by block or by ABBA round."""

LEAST_PROCESSES = 3
CV_LIMIT = 0.025
MEDIAN_OVER_MIN_LIMIT = 1.5
FEW_PROCESSES_GROUPS = 8
"""Groups of successive rounds, in all, where the processes are fewer: more would be correlated, fewer vague."""
ENOUGH_BEYOND = 10
"""Samples per process beyond a percentile from which the processes' shares are near enough to normal. Ours."""
ROUNDING = 1e-9
"""Scores that differ by no more are equal."""
TRIM = 0.2
"""Share of a process's rounds left out at either end: a neighbour's burst falls on few rounds."""


@cache
def samples_needed(percentile: float, allowed: int = 1, confidence: float = 0.99) -> int:
    """Least n with P(at most `allowed` of n samples lie over the percentile) <= 1 - confidence, if just 1 - p do.

    `percentile` is a share: 0.99 for P99. `allowed` 0 means that no over-latency sample is seen.
    """
    if not 0 < percentile < 1:
        raise ValueError(f"a percentile is a share between 0 and 1, got {percentile}")
    over, least, most = 1 - percentile, allowed, 1
    while stats.binom.cdf(allowed, most, over) > 1 - confidence:
        least, most = most, 2 * most
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if stats.binom.cdf(allowed, middle, over) > 1 - confidence else (least, middle)
    return most


def percentile(processes: Sequence[Process], share: float, confidence: float = 0.95) -> Figure:
    """The percentile of all samples with an interval of order statistics, in the samples' unit; or TooFew.

    Where three processes or more each hold enough samples on either side of it, the interval's ranks follow from how
    much the processes differ (Student's t); else from a binomial of as many samples as these are worth.
    """
    clusters = [np.concatenate([np.zeros(0), *blocks]) for blocks in processes]
    samples = np.sort(np.concatenate([np.zeros(0), *clusters]))
    n = len(samples)
    needed = samples_needed(share)
    if n < needed:
        return TooFew(needs=needed, has=n)
    estimate = float(np.quantile(samples, share, method="inverted_cdf"))
    if len(clusters) >= LEAST_PROCESSES and min(share, 1 - share) * n / len(clusters) >= ENOUGH_BEYOND:
        below = np.array([np.mean(cluster <= estimate) for cluster in clusters])
        around = t_interval(below, confidence)
        low, high = (share - around.half_width) * n, (share + around.half_width) * n + 1
    else:
        blocks = [block for process in processes for block in process]
        worth = max(1, round(n / max(design_effect(blocks, estimate), design_effect(clusters, estimate))))
        ranks = stats.binom.ppf([(1 - confidence) / 2, (1 + confidence) / 2], worth, share)
        low, high = ranks[0] / worth * n, (ranks[1] + 1) / worth * n
    return Interval(
        estimate,
        float(samples[math.floor(low) - 1]) if low >= 1 else -math.inf,
        float(samples[math.ceil(high) - 1]) if high <= n else math.inf,
    )


def design_effect(blocks: Sequence[Doubles], threshold: float) -> float:
    """How many correlated samples are worth one independent one, for the share of samples above `threshold`; >= 1.

    The blocks' shares vary more than a binomial's would where samples within a block are alike.
    """
    full = [block for block in blocks if len(block)]
    if len(full) < 2:
        return 1.0
    sizes = np.array([len(block) for block in full])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    above = np.add.reduceat((np.concatenate(full) > threshold).astype(np.float64), starts)
    n, share = sizes.sum(), above.sum() / sizes.sum()
    if not 0 < share < 1:
        return 1.0
    k = len(full)
    clustered = k / (k - 1) * np.sum((above - share * sizes) ** 2) / n**2
    return float(max(1.0, clustered / (share * (1 - share) / n)))


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the first contender's median is the second's, with what the interval rests on."""

    interval: Interval
    per_process: tuple[float, ...]
    covers_processes: bool
    """False where there were too few processes to see how much they differ: the interval is of these processes only."""


def ratio_of_medians(slow: Sequence[Process], fast: Sequence[Process]) -> Ratio:
    """Ratio of median latencies, slow / fast, with its 95 % interval, from [process][ABBA round] -> samples.

    Process p, round r of one stands beside process p, round r of the other; what drifts is common to both and cancels.
    With three processes or more each gives one estimate (the trimmed mean of its rounds' log ratios); with fewer, each
    gives a few, from groups of successive rounds long enough to be independent. Then Student's t over the estimates.

    Why not a bootstrap of blocks within processes: with five processes its interval covers the truth in about 85 % of
    runs where processes differ (a test shows it), because five resampled clusters vary less than five new ones do.
    """
    least = 1 if len(slow) >= LEAST_PROCESSES else 2
    if not slow or min(len(rounds) for rounds in (*slow, *fast)) < least:
        raise MeasureError("a ratio needs two rounds of both contenders, or three processes; allow the race more time")
    centres = np.array([round_centre(_log_ratios(one, other)) for one, other in zip(slow, fast, strict=True)])
    enough = len(centres) >= LEAST_PROCESSES
    groups = max(1, FEW_PROCESSES_GROUPS // len(centres))
    values = (
        centres
        if enough
        else np.concatenate(
            [_log_ratios(grouped(one, groups), grouped(other, groups)) for one, other in zip(slow, fast, strict=True)]
        )
    )
    logs = t_interval(values)
    interval = Interval(math.exp(logs.estimate), math.exp(logs.low), math.exp(logs.high))
    return Ratio(interval, tuple(np.exp(centres).tolist()), enough)


def _log_ratios(slow: Process, fast: Process) -> Doubles:
    """log(median slow / median fast), round by round."""
    pairs = zip(slow, fast, strict=True)
    return np.array([math.log(float(np.median(one)) / float(np.median(other))) for one, other in pairs])


def round_centre(log_ratios: Doubles) -> Doubles:
    """One process's estimate: the trimmed mean over its rounds, [..., R] -> [...]."""
    centre: Doubles = np.asarray(stats.trim_mean(log_ratios, TRIM, axis=-1))
    return centre


def grouped(rounds: Process, groups: int) -> list[Doubles]:
    """Successive rounds joined into at most `groups` stretches of about equal length."""
    parts = np.array_split(np.arange(len(rounds)), min(groups, len(rounds)))
    return [np.concatenate([rounds[place] for place in part]) for part in parts]


def t_ends(values: Doubles, confidence: float = 0.95) -> tuple[Doubles, Doubles, Doubles]:
    """Mean and the ends of Student's interval over the last axis: [..., K] -> [...] each."""
    count = values.shape[-1]
    mean = values.mean(axis=-1)
    reach = stats.t.ppf((1 + confidence) / 2, count - 1) * values.std(axis=-1, ddof=1) / math.sqrt(count)
    return mean, mean - reach, mean + reach


def t_interval(values: Doubles, confidence: float = 0.95) -> Interval:
    """Mean of a few independent estimates with Student's interval; endless for a single one."""
    if len(values) < 2:
        return Interval(float(values[0]), -math.inf, math.inf)
    mean, low, high = t_ends(values, confidence)
    return Interval(float(mean), float(low), float(high))


def geometric_mean(values: Doubles, confidence: float = 0.95) -> Interval:
    """Of a few independent positive figures, with Student's interval of their logarithms: it never reaches 0."""
    logs = t_interval(np.log(values), confidence)
    return Interval(*(math.exp(end) if end < math.inf else math.inf for end in (logs.estimate, logs.low, logs.high)))


def mean_over_seeds(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean over independent training runs with Student's interval; endless where no spread was seen.

    That is for a single seed, and for seeds that happen to agree to the digit: scores are counts of few examples, so
    two may well be equal, which is no proof that a third would be.
    """
    found = np.asarray(values, dtype=np.float64)
    if np.ptp(found) <= ROUNDING:
        return Interval(float(found[0]), -math.inf, math.inf)
    return t_interval(found, confidence)


@dataclass(frozen=True, slots=True)
class Noise:
    """How steady the samples were, inputs of different size not counted as noise."""

    cv: float
    """Standard deviation over mean, of samples divided by their input's median."""
    median_over_min: float
    flags: tuple[str, ...]


def noise(samples: Doubles, inputs: NDArray[np.int64] | None = None) -> Noise:
    """Coefficient of variation and median over minimum, flagged above 2.5 % and 1.5.

    With `inputs` (the place of each sample's input) every sample is first divided by the median of its own input.
    """
    relative = samples / np.median(samples) if inputs is None else relative_to_input(samples, inputs)
    cv = float(np.std(relative) / np.mean(relative))
    median_over_min = float(np.median(relative) / np.min(relative))
    flags = []
    if cv > CV_LIMIT:
        flags.append(f"CV {figure(cv, 'share', places=1)} is over {figure(CV_LIMIT, 'share', places=1)}")
    if median_over_min > MEDIAN_OVER_MIN_LIMIT:
        flags.append(f"the median is {median_over_min:.2f} times the fastest run: something else uses the machine")
    return Noise(cv, median_over_min, tuple(flags))


def relative_to_input(samples: Doubles, inputs: NDArray[np.int64]) -> Doubles:
    """Each sample over the median of the samples that share its input."""
    out = np.empty_like(samples)
    for place in np.unique(inputs):
        mine = inputs == place
        out[mine] = samples[mine] / np.median(samples[mine])
    return out
