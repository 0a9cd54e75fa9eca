"""Where along the chain teacher -> student -> export -> ... the metric is lost, as far as that can be told."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from kd2deploy.core.figures import Unit, ends, figure
from kd2deploy.measure.intervals import Interval


@dataclass(frozen=True)
class Link:
    """One step of the chain, and what it changed of the metric against the step before, paired; None for the first."""

    name: str
    change: Interval | None


def where_it_drops(links: Sequence[Link], whole: Interval | None, unit: Unit = "points") -> str:
    """One sentence that names the step with the largest loss; a loss whose interval holds nought is told as no loss.

    `whole` is what the last loses against the first (a change too: negative is a loss).
    """
    steps = [(before, link, link.change) for before, link in itertools.pairwise(links) if link.change]
    if not steps or whole is None:
        return "there is only one score, so no step to blame"
    in_all = f"{change(whole, unit)} in all"
    sure = [step for step in steps if step[2].high < 0]
    before, worst, found = min(sure or steps, key=lambda step: step[2].estimate)
    where = f"from {before.name} to {worst.name}: {change(found, unit)}"
    if sure:
        return f"most of the metric is lost {where}; {in_all}"
    if found.estimate >= 0:
        return f"no step loses anything; {in_all}"
    return f"no step loses anything for sure: the largest change enters {where}, an interval that holds zero; {in_all}"


def change(found: Interval, unit: Unit) -> str:
    """`-0.46 points [-0.98, +0.07]`."""
    number = figure(found.estimate, unit, signed=True)
    return f"{number} {ends(found.estimate, found.low, found.high, unit, signed=True)}"
