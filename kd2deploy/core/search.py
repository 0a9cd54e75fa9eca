"""What a search may try in place of an argument, said where the argument is defined.

    def logit(temperature: Temperature = 1.0, alpha: Share = 0.9) -> Method: ...

All ranges are ours: wide enough to hold what papers report, narrow enough for a few dozen trials.
"""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any


@dataclass(frozen=True)
class Between:
    """Numbers from `low` to `high`, both among them; whole ones where both are. `log`: evenly over their logarithms."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"`low` must be below `high`, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"with `log` both ends must be positive, got {self.low:g}")

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def holds(self, value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high and (not self.whole or isinstance(value, int))


@dataclass(frozen=True)
class OneOf:
    """One of some values."""

    choices: tuple[Any, ...]

    def __post_init__(self) -> None:
        distinct = [value for at, value in enumerate(self.choices) if value not in self.choices[:at]]
        if len(distinct) < max(1, len(self.choices)):
            raise ValueError(f"choices must be distinct values, one at least, got {list(self.choices)!r}")

    def holds(self, value: Any) -> bool:
        return value in self.choices


@dataclass(frozen=True)
class Around:
    """From the value itself over `times` to `times` itself, evenly over the logarithms. A value of 0 switches something
    off, and stays."""

    times: float
    of_whole: bool = False
    """Whether the argument and others that say so are parts of one whole: what is tried is scaled to have their sum."""

    def __post_init__(self) -> None:
        if self.times <= 1:
            raise ValueError(f"`times` must be more than 1, got {self.times:g}")


Range = Between | OneOf
Said = Between | OneOf | Around

Temperature = Annotated[float, Between(1.0, 8.0, log=True)]
"""Of softened classes."""
ContrastTemperature = Annotated[float, Around(3.0)]
"""Of similarities, which lie in -1..1."""
TermWeight = Annotated[float, Around(4.0)]
"""Of one term among others."""
WholePart = Annotated[float, Around(4.0, of_whole=True)]
"""Weight of one term among others, where all of them have to sum to 1."""
Share = Annotated[float, Between(0.1, 1.0)]
"""What one of two terms has of the whole."""


def range_of(said: Said, value: Any) -> Range | None:
    """What is tried in place of `value`, which is always among it; None where it stays."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(said, OneOf):
        return said if said.holds(value) else OneOf((*said.choices, value))
    if not number:
        return None
    if isinstance(said, Around):
        if value <= 0:
            return None
        low, high = value / said.times, value * said.times
        if isinstance(value, int):
            low, high = max(1, round(low)), max(2, round(high))
        return Between(low, high, log=True)
    return said if said.holds(value) else replace(said, low=min(said.low, value), high=max(said.high, value))


def searched(function: Callable[..., Any]) -> dict[str, Said]:
    """What a function, or a dataclass, says may be tried in place of its arguments, by argument."""
    hints = typing.get_type_hints(function, include_extras=True)
    found = {}
    for name in inspect.signature(function).parameters:
        extras = typing.get_args(hints[name])[1:] if typing.get_origin(hints.get(name)) is Annotated else ()
        said = next((one for one in extras if isinstance(one, Between | OneOf | Around)), None)
        if said is not None:
            found[name] = said
    return found
