"""What may be tried in place of an argument: ranges around a value, and what a function says of its own."""

from typing import Annotated

import pytest

from kd2deploy.core.search import Around, Between, OneOf, TermWeight, range_of, searched


def test_a_range_around_a_value_holds_it_in_its_middle() -> None:
    found = range_of(Around(4.0), 0.5)
    assert found == Between(0.125, 2.0, log=True)
    assert range_of(Around(2.0), 10) == Between(5, 20, log=True)
    assert range_of(Around(2.0), 1) == Between(1, 2, log=True)


def test_what_switches_something_off_stays_off() -> None:
    assert range_of(Around(4.0), 0.0) is None
    assert range_of(Between(1.0, 8.0), None) is None
    assert range_of(Between(1.0, 8.0), True) is None


def test_a_value_outside_of_a_range_widens_it() -> None:
    assert range_of(Between(1.0, 8.0, log=True), 20.0) == Between(1.0, 20.0, log=True)
    assert range_of(OneOf(("a", "b")), [[1, 2]]) == OneOf(("a", "b", [[1, 2]]))


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: Between(2.0, 1.0), "below `high`"),
        (lambda: Between(0.0, 1.0, log=True), "both ends must be positive"),
        (lambda: OneOf(()), "one at least"),
        (lambda: OneOf((1, 1)), "distinct"),
        (lambda: Around(1.0), "more than 1"),
    ],
)
def test_what_is_no_range_is_refused(made: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        made()  # type: ignore[operator]


def test_a_function_says_what_is_tried_of_its_arguments() -> None:
    def method(
        weight: TermWeight = 1.0,
        dim: int = 8,
        named: Annotated[str, "no range"] = "",
        at: Annotated[int, Around(2)] = 3,
    ) -> None: ...

    assert searched(method) == {"weight": Around(4.0), "at": Around(2)}
