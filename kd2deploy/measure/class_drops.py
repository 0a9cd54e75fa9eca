"""What each class loses of its recall, in pairs on the same rows, and how much the worst of them loses.

The worst class is picked after looking, so its own interval would flatter. Its two ends are therefore taken of all
classes, each end as it must be:

- the upper end is the highest upper end of any class. Whichever class is truly the worst, its own end is among them,
  so no correction is needed (Berger, "Multiparameter hypothesis testing and acceptance sampling", 1982);
- the lower end is the highest lower end, of intervals that hold for all classes at once (Bonferroni): one of many
  classes looks bad by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kd2deploy.core import Scores
from kd2deploy.measure.intervals import Figure, Interval, TooFew
from kd2deploy.measure.paired import CONFIDENCE, check_same_examples, paired_difference

LEAST_ROWS = 10
"""Below it one answer is worth more than ten points, and nothing is said of a class. Ours."""
LARGEST = 1.0
"""The most that recall can drop."""


@dataclass(frozen=True)
class ClassDrop:
    """One class on its `rows` of the evaluation set."""

    label: str
    rows: int
    before: float
    """Recall of the one, 0..1."""
    after: float
    """Recall of the other."""
    drop: Figure
    """`before` - `after` with the class's own 95 % interval; TooFew below `LEAST_ROWS` rows."""
    sure_from: float
    """The lower end of the drop when all classes are to hold at once: above 0 the class surely lost something."""

    @property
    def lost(self) -> float:
        return self.before - self.after


def class_drops(before: Scores, after: Scores) -> tuple[ClassDrop, ...]:
    """The drop of every class's recall from `before` to `after`, the largest first; empty where there are no classes.

    Raises MeasureError where the two were scored on different examples.
    """
    check_same_examples(before, after)
    told = sum(len(hits) >= LEAST_ROWS for hits in before.hits.values())
    all_at_once = 1 - (1 - CONFIDENCE) / max(1, told)
    found = []
    for label, one in before.hits.items():
        other, rows = after.hits[label], len(one)
        drop: Figure = paired_difference(one, other) if rows >= LEAST_ROWS else TooFew(needs=LEAST_ROWS, has=rows)
        sure_from = paired_difference(one, other, all_at_once).low if rows >= LEAST_ROWS else -LARGEST
        found.append(ClassDrop(label, rows, float(np.mean(one)), float(np.mean(other)), drop, sure_from))
    return tuple(sorted(found, key=lambda one: (isinstance(one.drop, TooFew), -one.lost)))


def worst_drop(drops: Sequence[ClassDrop]) -> Figure | None:
    """The largest drop of any class with its 95 % interval; None where there are no classes.

    Of a class with too few rows nothing is known, so it may have lost all: the upper end is then the largest possible.
    """
    told = [(one, one.drop) for one in drops if isinstance(one.drop, Interval)]
    if not told:
        return TooFew(needs=LEAST_ROWS, has=max(one.rows for one in drops)) if drops else None
    high = LARGEST if len(told) < len(drops) else max(drop.high for _, drop in told)
    return Interval(max(drop.estimate for _, drop in told), max(one.sure_from for one, _ in told), high)


def too_few(drops: Sequence[ClassDrop]) -> list[str]:
    """The classes of which nothing can be told."""
    return [one.label for one in drops if isinstance(one.drop, TooFew)]
