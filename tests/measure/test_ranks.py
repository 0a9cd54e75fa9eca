"""Mean ranks over data sets, by hand and against the published critical values."""

import numpy as np
import pytest

from kd2deploy.measure.ranks import critical_difference, not_apart, ranked


def test_ranks_and_their_test_by_hand() -> None:
    """Three methods on four data sets: ranks 1 2 3, 1 2 3, 2 1 3, 1 2 3; Friedman's statistic is 6.5 on 2 degrees."""
    found = ranked(np.array([[0.9, 0.8, 0.7], [0.5, 0.4, 0.3], [0.6, 0.7, 0.1], [0.30, 0.20, 0.10]]))
    assert found.mean == pytest.approx((1.25, 1.75, 3.0))
    assert found.p_value == pytest.approx(np.exp(-6.5 / 2))
    assert found.critical_difference == pytest.approx(2.343 * (3 * 4 / (6 * 4)) ** 0.5, abs=2e-3)


def test_critical_values_are_those_of_the_published_table() -> None:
    for methods, q in ((2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)):
        assert critical_difference(methods, 1) == pytest.approx(q * (methods * (methods + 1) / 6) ** 0.5, abs=2e-3)


def test_equal_scores_share_their_ranks_and_equal_methods_are_not_tested_apart() -> None:
    assert ranked(np.array([[0.9, 0.9, 0.1]])).mean == (1.5, 1.5, 3.0)
    alike = ranked(np.full((4, 3), 0.5))
    assert alike.mean == (2.0, 2.0, 2.0)
    assert alike.p_value == 1.0


@pytest.mark.parametrize("shape", [(1, 5), (5, 2)])
def test_too_few_are_ranked_and_not_tested(shape: tuple[int, int]) -> None:
    found = ranked(np.arange(shape[0] * shape[1], dtype=float).reshape(shape))
    assert found.critical_difference is None
    assert found.p_value is None


@pytest.mark.parametrize("table", [np.zeros((0, 3)), np.zeros(3), np.array([[0.1, np.nan, 0.2]])])
def test_what_cannot_be_ranked_is_refused(table: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match="finite numbers"):
        ranked(table)


def test_groups_are_the_largest_and_hold_no_smaller_one() -> None:
    assert not_apart([1.0, 2.0, 3.0, 6.0], 2.0) == [(0, 1, 2)]
    assert not_apart([1.0, 2.0, 3.0, 4.0], 1.5) == [(0, 1), (1, 2), (2, 3)]
    assert not_apart([3.0, 1.0, 2.0], 10.0) == [(1, 2, 0)]
    assert not_apart([1.0, 5.0], 1.0) == []
