"""What each class loses of its recall, in pairs on the same rows, and how much the worst of them loses.

The worst class is picked after looking, so its own interval would flatter. Its two ends are therefore taken of all
classes, each end as it must be:

- the upper end is the highest upper end of any class. Whichever class is truly the worst, its own end is among them,
  so no correction is needed (Berger, "Multiparameter hypothesis testing and acceptance sampling", 1982);
- the lower end is the highest lower end, of intervals that hold for all classes at once (Bonferroni): one of many
  classes looks bad by chance.
"""

from collections.abc import Sequence

import numpy as np

from kd2deploy.core import Scores
from kd2deploy.core.losses import ClassDrop
from kd2deploy.measure.intervals import Figure, Interval, TooFew, shown
from kd2deploy.measure.paired import CONFIDENCE, check_same_examples, paired_difference

LEAST_ROWS = 10
"""Below it one answer is worth more than ten points, and nothing is said of a class. Ours."""
LARGEST = 1.0
"""The most that recall can drop."""


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
        found.append(ClassDrop(label, rows, float(np.mean(one)), float(np.mean(other)), shown(drop), float(sure_from)))
    return tuple(sorted(found, key=lambda one: (not one.is_told, -one.lost)))


def worst_drop(drops: Sequence[ClassDrop]) -> Figure | None:
    """The largest drop of any class with its 95 % interval; None where there are no classes.

    Of a class with too few rows nothing is known, so it may have lost all: the upper end is then the largest possible.
    """
    told = [one for one in drops if one.is_told]
    if not told:
        return TooFew(needs=LEAST_ROWS, has=max(one.rows for one in drops)) if drops else None
    high = LARGEST if len(told) < len(drops) else max(one.drop.high or 0.0 for one in told)
    return Interval(max(one.lost for one in told), max(one.sure_from for one in told), high)


def too_few(drops: Sequence[ClassDrop]) -> list[str]:
    """The classes of which nothing can be told."""
    return [one.label for one in drops if not one.is_told]
