"""What the judge puts into the report, where a figure would mislead."""

import math

import numpy as np
import pytest

from kd2deploy.core import Scores
from kd2deploy.measure.intervals import Interval
from kd2deploy.stages.judge import gap_shown


def scores(accuracy: float) -> Scores:
    right = (np.arange(100) < 100 * accuracy).astype(np.int64)
    return Scores(np.ones(100, dtype=np.int64), right, right, {"accuracy": accuracy})


@pytest.mark.parametrize(
    ("teacher", "gap", "note"),
    [
        (0.90, Interval(0.5, 0.3, 0.7), ""),
        (0.80, Interval(0.5, 0.3, 0.7), "the teacher is no better than the control"),
        (0.81, Interval(4.5, -math.inf, math.inf), "the teacher is not surely better than the control"),
    ],
)
def test_a_share_of_no_gap_is_not_shown(teacher: float, gap: Interval, note: str) -> None:
    found = gap_shown(gap, scores(teacher), scores(0.80), "accuracy")
    assert found is not None
    assert (found.value is None) == bool(note)
    assert note in found.note
