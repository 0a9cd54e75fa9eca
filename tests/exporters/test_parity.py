"""The measure of disagreement, on hand-made numbers."""

import numpy as np
import pytest

from kd2deploy.exporters._parity import difference, refusal, varies, worst

REFERENCE = np.array([[1.0, -1.0], [3.0, -3.0]])  # std sqrt(5)


def test_difference_counts_in_units_of_what_is_allowed() -> None:
    assert difference(REFERENCE, REFERENCE) == 0
    found = REFERENCE.copy()
    found[0, 0] += 1e-3 * (1 + np.sqrt(5))
    assert difference(REFERENCE, found) == pytest.approx(1)
    assert difference(REFERENCE, found, "fp16") == pytest.approx(1 / 30)


def test_the_allowance_shrinks_with_the_outputs() -> None:
    found = REFERENCE + 0.1
    assert difference(REFERENCE * 1e-9, found * 1e-9) == pytest.approx(difference(REFERENCE, found), rel=1e-2)


@pytest.mark.parametrize("found", [REFERENCE * np.nan, REFERENCE[:, :1]], ids=["nan", "shape"])
def test_nan_and_other_shapes_are_infinitely_far(found: np.ndarray) -> None:
    assert difference(REFERENCE, found) == float("inf")


def test_the_worst_output_is_named() -> None:
    assert worst({"a": REFERENCE, "b": REFERENCE}, {"a": REFERENCE, "b": REFERENCE + 1})[0] == "b"


def test_useless_references_are_told_from_useful_ones() -> None:
    assert refusal(REFERENCE) == ""
    assert "NaN" in refusal(REFERENCE * np.inf)
    assert "vanish" in refusal(REFERENCE * 1e-24)
    assert varies([REFERENCE])
    assert not varies([np.ones((3, 2)), np.ones((3, 2))])
    assert not varies([np.tile([1.0, 5.0], (3, 1))])
