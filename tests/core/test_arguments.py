"""Arguments that a function takes as one value, given field by field."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from kd2deploy.core import Artifact, converter, traits_of
from kd2deploy.core.arguments import bind_arguments, grouped, taken_by
from kd2deploy.core.convert import Traits, bits_of


@dataclass(frozen=True)
class Ways:
    """How it is done."""

    speed: float
    exclude: Sequence[str] = ()
    tries: int = 1


def work(source: object, *, options: Ways, label: str = "plain") -> str:
    """Works."""
    return f"{source}: {options.speed} {list(options.exclude)} {options.tries} {label}"


def test_the_fields_of_the_options_are_the_functions_own_arguments() -> None:
    assert list(taken_by(work, 1)) == ["speed", "exclude", "tries", "label"]
    found, faults = bind_arguments(work, {"speed": "2.5", "exclude": ["a"], "label": "fast"}, "work", "step", 1)
    assert not faults
    assert work("it", **grouped(work, found)) == "it: 2.5 ['a'] 1 fast"


def test_every_fault_of_a_field_is_told_as_one_of_the_function() -> None:
    _, faults = bind_arguments(work, {"tires": 2, "tries": "many"}, "work", "step", 1)
    assert [str(fault) for fault in faults] == [
        "step.tires: work takes speed, exclude, tries, label; did you mean 'tries'?",
        "step.tries: Input should be a valid integer, unable to parse string as an integer, got 'many'",
        "step.speed: work needs it",
    ]


def test_a_function_without_options_is_called_as_before() -> None:
    def plain(source: object, *, times: int = 2) -> int:
        return times

    assert grouped(plain, {"times": 3}) == {"times": 3}
    assert bind_arguments(plain, {"options": 1}, "plain", "step", 1)[1]


def rank(*inputs: object, **arguments: object) -> list[tuple[str, float]]:
    return []


def test_a_converter_must_take_what_it_promises() -> None:
    def bare(source: Artifact, task: object, target: object, folder: object, samples: object) -> Artifact:
        return source

    for promise in ({"ranked_by": rank}, {"takes_shapes": True}):
        with pytest.raises(ValueError, match=r"bare must take '(exclude|shapes)'"):
            converter(**promise)(bare)
    assert traits_of(bare) == Traits()
    assert traits_of(converter(on_device=True)(bare)).on_device


def test_what_rounds_unless_it_is_told_not_to_is_asked_with_its_arguments() -> None:
    @converter(rounds_to=16, unless={"tries": 0})
    def half(source: Artifact, a: int, b: int, c: int, d: int, *, options: Ways) -> Artifact:
        return source

    assert bits_of(half, {}) == 16
    assert bits_of(half, {"tries": 0}) == 0
