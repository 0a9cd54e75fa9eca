"""Where along the chain teacher -> student -> export -> ... the metric is lost, as far as that can be told."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from kd2deploy.core.estimate import Estimate
from kd2deploy.core.figures import Unit, decimals, ends, figure
from kd2deploy.core.losses import DropLink
from kd2deploy.measure.intervals import Interval, shown


def where_it_drops(links: Sequence[DropLink], whole: Interval | None, unit: Unit = "points") -> str:
    """One sentence that names the step with the largest loss; a loss whose interval holds nought is told as no loss.

    `whole` is what the last loses against the first (a change too: negative is a loss).
    """
    steps = [Step(before.step, link.step, link.delta) for before, link in itertools.pairwise(links) if link.delta]
    if not steps or whole is None:
        return "there is only one score, so no step to blame"
    in_all = f"{change(shown(whole), unit)} in all"
    sure = [step for step in steps if step.surely_loses]
    worst = min(sure or steps, key=lambda step: step.value)
    where = f"from {worst.before} to {worst.after}: {change(worst.delta, unit)}"
    if sure:
        return f"most of the metric is lost {where}; {in_all}"
    if worst.value >= 0:
        return f"no step loses anything; {in_all}"
    return f"no step loses anything for sure: the largest change enters {where}, an interval that holds zero; {in_all}"


class Step(NamedTuple):
    """What one step changed."""

    before: str
    after: str
    delta: Estimate

    @property
    def value(self) -> float:
        return 0.0 if self.delta.value is None else self.delta.value

    @property
    def surely_loses(self) -> bool:
        return self.delta.high is not None and self.delta.high < 0


def change(found: Estimate, unit: Unit) -> str:
    """`-0.46 points [-0.98, +0.07]`."""
    value = 0.0 if found.value is None else found.value
    low, high = (math.nan if end is None else end for end in (found.low, found.high))
    places = decimals(value, unit, high - low)
    return f"{figure(value, unit, signed=True, places=places)} {ends(value, low, high, unit, signed=True)}"
