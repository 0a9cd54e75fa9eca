"""When to stop timing: enough samples, enough time, a narrow enough median; or a cap; or noise that will not shrink.

How narrow a median is follows from how much it differs between rounds, the drift that all contenders share left out:
it cancels in every ratio, and no real machine is without it.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from kd2deploy.core.figures import figure
from kd2deploy.measure.statistics import samples_needed, t_interval
from kd2deploy.measure.timing import Doubles

OVER = 5
"""Over-latency samples that the gated percentile is to rest on. One suffices to print it, but then every eighth P99 of
independent samples has no upper end (simulated), and what has no upper end never passes a gate."""


class State(Enum):
    CONTINUE = "continue"
    SETTLED = "settled"
    CAPPED = "capped"


@dataclass(frozen=True)
class StopRule:
    """All of the first three must hold; `cap_s` of wall clock ends it anyway, and leaves wide intervals."""

    percentile: float = 0.5
    """The percentile that gates: its sample count (`OVER` allowed) is the least."""
    min_s: float = 3.0
    """Least host time spent in timed runs."""
    relative: float = 0.01
    """Largest half-width of the median's 95 % interval, as a share of the median, apart from what drifts for all."""
    cap_s: float = 60.0
    """Wall clock per contender, all processes together, warm-up counted."""
    noise_change: float = 0.05
    """The noise estimate is stable when its last two updates moved it by less than this share."""

    def share(self, processes: int) -> "ShareRule":
        """The rule for one of several processes, which together satisfy this one."""
        return ShareRule(
            least=math.ceil(samples_needed(self.percentile, allowed=OVER) / processes),
            min_s=self.min_s / processes,
            relative=self.relative * math.sqrt(processes),
            cap_s=self.cap_s / processes,
            noise_change=self.noise_change,
            processes=processes,
        )


@dataclass(frozen=True)
class ShareRule:
    """What one process must bring."""

    least: int
    min_s: float
    relative: float
    cap_s: float
    noise_change: float
    processes: int = 1

    @property
    def cap(self) -> str:
        """The whole rule's cap, as the recipe has it, and this process's part of it."""
        part = f" ({self.cap_s:.3g} s in each of {self.processes} processes)" if self.processes > 1 else ""
        return f"{self.cap_s * self.processes:g} s{part}"


@dataclass(frozen=True)
class Decision:
    state: State
    reason: str


def without_common_drift(medians: Sequence[Doubles]) -> list[Doubles]:
    """Each contender's log medians [R], less their mean over the contenders, round by round.

    Scaled so that a contender's own variance stays what it is; one contender alone keeps all of its drift.
    """
    if len(medians) < 2:
        return list(medians)
    count, common = len(medians), np.mean(medians, axis=0)
    return [(own - common) * math.sqrt(count / (count - 1)) for own in medians]


def decide(blocks: Sequence[Doubles], medians: Doubles, elapsed_s: float, rule: ShareRule) -> Decision:
    """Whether to go on, given the samples so far (milliseconds, by block), the rounds' log medians [R] without what
    drifts for all, and the wall clock spent.

    Stops as settled also when the noise estimate itself no longer moves although the median is not yet narrow: more of
    the same samples would only wait, and the verdict reads the interval anyway.
    """
    samples = np.concatenate([np.zeros(0), *blocks])
    timed_s = float(samples.sum()) / 1e3
    short = _short_of(samples, timed_s, rule)
    if not short:
        width = t_interval(medians).half_width
        if width <= rule.relative:
            return Decision(State.SETTLED, f"the median is known within {figure(width, 'share')} in a process")
        if _noise_is_stable(medians, rule.noise_change) and timed_s >= 2 * rule.min_s:
            return Decision(
                State.SETTLED,
                f"the noise no longer changes; the median is known within {figure(width, 'share')} in a process",
            )
        short = f"the median is not yet known within {figure(rule.relative, 'share')} in a process"
    if elapsed_s >= rule.cap_s:
        return Decision(State.CAPPED, f"stopped at the cap of {rule.cap}: {short}")
    return Decision(State.CONTINUE, short)


def _short_of(samples: Doubles, timed_s: float, rule: ShareRule) -> str:
    if len(samples) < rule.least:
        return f"{len(samples)} of {rule.least} samples"
    if timed_s < rule.min_s:
        return f"{timed_s:.1f} of {rule.min_s:.1f} s of timed runs"
    return ""


def _noise_is_stable(medians: Doubles, change: float) -> bool:
    """Whether the spread of the rounds' medians moved by less than `change` over either of the last two thirds."""
    if len(medians) < 12:
        return False
    thirds = [len(medians) // 3, 2 * len(medians) // 3, len(medians)]
    spreads = [float(np.std(medians[:end], ddof=1)) for end in thirds]
    return all(abs(after - before) <= change * after for before, after in itertools.pairwise(spreads))
