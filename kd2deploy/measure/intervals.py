"""An estimate with its 95 % interval, or the plain statement that there were too few samples for one."""

import math
from dataclasses import dataclass

from kd2deploy.core.estimate import Estimate, estimate, needs


@dataclass(frozen=True, slots=True)
class Interval:
    """`estimate` with the ends of its interval; an end that the data does not bound is infinite."""

    estimate: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    @property
    def relative(self) -> float:
        """Half-width as a share of the estimate; infinite where the estimate is 0."""
        return self.half_width / abs(self.estimate) if self.estimate else math.inf

    def within(self, least: float, most: float) -> "Interval":
        """The interval without what is not possible; an end that the data does not bound stays open."""
        low = max(self.low, least) if math.isfinite(self.low) else self.low
        high = min(self.high, most) if math.isfinite(self.high) else self.high
        return Interval(self.estimate, low, high)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def to_json(self) -> dict[str, float | None]:
        """JSON knows no infinity: an unbounded end is null."""
        ends = {"estimate": self.estimate, "low": self.low, "high": self.high}
        return {name: value if math.isfinite(value) else None for name, value in ends.items()}


@dataclass(frozen=True, slots=True)
class TooFew:
    """A figure that cannot be stated: `has` samples where `needs` are the least."""

    needs: int
    has: int

    def __str__(self) -> str:
        return f"n/a (needs {self.needs:,})"


Figure = Interval | TooFew


def shown(figure: Figure | float | None, factor: float = 1.0) -> Estimate:
    """A measured figure as it is told."""
    if figure is None:
        return Estimate(None, note="not measured")
    if isinstance(figure, TooFew):
        return needs(figure.needs)
    if isinstance(figure, Interval):
        return estimate(figure.estimate * factor, figure.low * factor, figure.high * factor)
    return estimate(figure * factor)
