import functools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd2deploy.methods import _maths


def test_the_mean_is_over_the_positions_that_count_then_per_row():
    values = torch.tensor([[1.0, 3.0, 100.0], [2.0, 100.0, 100.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert _maths.mean_over_positions(values, mask).tolist() == [2.0, 2.0]


def test_a_masked_nan_does_not_spread():
    values = torch.tensor([[[1.0, 2.0], [math.nan, math.nan]]])
    assert _maths.mean_over_positions(values, torch.tensor([[True, False]])).tolist() == [[1.0, 2.0]]


def test_a_row_without_positions_gives_zero():
    assert _maths.mean_over_positions(torch.ones(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool)).tolist() == [[0.0, 0.0]]


def test_the_squared_distance_of_unit_vectors_is_two_minus_two_cosines():
    one, other = _maths.normalized(torch.randn(6, 5)), _maths.normalized(torch.randn(6, 5))
    torch.testing.assert_close(_maths.squared_distance(one, other), 2 - 2 * (one * other).sum(-1))


def test_probability_kl_by_hand_with_a_zero():
    student, teacher = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.5, 0.5, 0.0])
    assert _maths.probability_kl(student, teacher).item() == pytest.approx(0.5 * math.log(2))


def test_pearson_ignores_scale_and_shift_and_is_zero_for_a_constant():
    one = torch.randn(4, 7)
    torch.testing.assert_close(_maths.pearson(one, 3 * one + 2), torch.ones(4))
    torch.testing.assert_close(_maths.pearson(one, -one), -torch.ones(4))
    assert _maths.pearson(one, torch.ones(4, 7)).tolist() == [0.0] * 4


@given(epochs=st.integers(1, 60), t_max=st.integers(1, 30))
def test_phi_rises_from_one_step_to_one_and_never_above(epochs, t_max):
    factors = [_maths.annealing_factor(epoch, epochs, t_max) for epoch in range(epochs)]
    assert factors[0] == pytest.approx(1 / min(t_max, epochs))
    assert factors[-1] == 1
    assert factors == sorted(factors)


def test_phi_steps_every_third_epoch_in_the_glue_setting():
    factors = [_maths.annealing_factor(epoch, 30, 10) for epoch in range(30)]
    assert factors == pytest.approx([0.1 * (1 + epoch // 3) for epoch in range(30)])


@pytest.mark.parametrize(
    ("check", "values", "message"),
    [
        (_maths.need_positive, {"dim": 0}, "dim must be positive and finite, got 0"),
        (_maths.need_positive, {"temperature": math.nan}, "temperature must be positive and finite, got nan"),
        (_maths.need_weight, {"beta": -1}, "beta must be 0 or more and finite, got -1"),
        (_maths.need_weight, {"beta": math.inf}, "beta must be 0 or more and finite, got inf"),
        (_maths.need_share, {"alpha": 1.5}, "alpha must lie in 0..1, got 1.5"),
        (functools.partial(_maths.need_one_of, ("a", "b")), {"kind": "c"}, "kind must be one of 'a', 'b', got 'c'"),
        (
            _maths.need_sum_of_one,
            {"task": 0.5, "soft": 0.6},
            "task, soft must sum to 1, got task = 0.5, soft = 0.6 .*; set",
        ),
        (_maths.need_sum_of_one, {"task": 1.5, "soft": -0.5}, "task must lie in 0..1, got 1.5"),
    ],
)
def test_bad_arguments_name_the_argument_and_the_range(check, values, message):
    with pytest.raises(ValueError, match=message):
        check(**values)


@pytest.mark.parametrize(
    ("until", "epochs", "first"),
    [
        (0.0, 5, 1),
        (0.75, 0.4, 1),
        (0.75, 1, 1),
        (0.75, 2, 1),
        (0.75, 2.4, 2),
        (0.75, 40, 30),
        (1.0, 2.4, 3),
        (1.0, 3, 3),
    ],
)
def test_a_first_phase_is_whole_epochs_and_leaves_one_to_the_second(until, epochs, first):
    assert _maths.phase_epochs(until, epochs) == first


def test_three_thirds_sum_to_one():
    _maths.need_sum_of_one(task=1 / 3, soft=1 / 3, rail=1 / 3)
