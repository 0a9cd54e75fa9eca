"""What distillation itself brought, seed by seed."""

import pytest
from stages.small_field import job, without

from kd2deploy.stages.field import Field
from kd2deploy.stages.telling.distillation import distillation


def test_students_and_controls_are_matched_by_their_seed(field: Field) -> None:
    found = distillation(job(seeds=(0, 1)), "logit", field)
    assert [(one.seed, one.student, one.control) for one in found.seeds] == [(0, 0.89, 0.80), (1, 0.87, 0.81)]
    assert found.teacher == 0.90
    assert found.student_spread == pytest.approx(0.02 / 2**0.5)
    assert found.control_spread == pytest.approx(0.01 / 2**0.5)
    assert found.gain is not None
    assert found.gain.value == pytest.approx((0.09 + 0.06) / 2)


def test_a_single_seed_has_no_spread_and_a_run_without_controls_no_gain(field: Field) -> None:
    alone = without(field, "student (seed 1)", "control (seed 1)")
    assert distillation(job(), "logit", alone).student_spread is None
    bare = distillation(job(), "logit", without(alone, "control"))
    assert (bare.gain, bare.gap_closed) == (None, None)
    assert bare.sentence.startswith("No control was trained")
