"""How much of the gap between control and teacher was closed, over seeds and over examples."""

import pytest
from stages.small_field import job, without

from kd2deploy.measure.intervals import Interval
from kd2deploy.measure.over_seeds import gap_closed_over_seeds
from kd2deploy.stages.field import Field
from kd2deploy.stages.gap import gap_over_seeds_or_examples


def test_the_gap_closed_goes_over_the_seeds_where_there_are_several(field: Field) -> None:
    found = gap_over_seeds_or_examples(job(seeds=(0, 1)), field, field.student)
    assert found == gap_closed_over_seeds([0.89, 0.87], [0.80, 0.81], 0.90)


def test_what_the_deployed_file_lost_is_taken_from_every_seed(field: Field) -> None:
    found = gap_over_seeds_or_examples(job(seeds=(0, 1)), field, field.deployed)
    expected = gap_closed_over_seeds([0.88, 0.86], [0.80, 0.81], 0.90)
    assert isinstance(found, Interval)
    assert expected is not None
    assert (found.estimate, found.low, found.high) == pytest.approx((expected.estimate, expected.low, expected.high))


def test_a_seed_without_its_control_does_not_count(field: Field) -> None:
    alone = without(field, "control (seed 1)")
    found = gap_over_seeds_or_examples(job(seeds=(0, 1)), alone, alone.student)
    assert isinstance(found, Interval)
    assert found.estimate == pytest.approx(0.9)


def test_a_single_seeds_gap_goes_over_the_examples(field: Field) -> None:
    alone = without(field, "student (seed 1)", "control (seed 1)")
    found = gap_over_seeds_or_examples(job(), alone, alone.student)
    assert isinstance(found, Interval)
    assert found.estimate == pytest.approx(0.9)
    assert found.low < 0.9 < found.high


@pytest.mark.parametrize("absent", ["control", "teacher (eager)"])
def test_without_a_control_or_a_teacher_there_is_no_gap(field: Field, absent: str) -> None:
    lost = without(field, absent)
    assert gap_over_seeds_or_examples(job(), lost, lost.deployed) is None
