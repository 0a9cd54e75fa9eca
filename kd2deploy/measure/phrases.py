"""What the verdict's one sentence says of each limit: `12.7x faster (4x asked)`.

A difference is told by its direction and never by its sign: "0.46 points above the teacher's".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kd2deploy.core.figures import MetricUnit, Unit, as_given, ends, figure
from kd2deploy.measure.intervals import Interval


@dataclass(frozen=True, slots=True)
class Metric:
    """The task's headline metric as it is told."""

    name: str = "metric"
    unit: MetricUnit = "share"
    suffix: str = ""
    before: str = "teacher"
    """What the deployed file is compared with."""
    higher_is_better: bool = True

    @property
    def difference(self) -> Unit:
        return "points" if self.unit == "share" else "number"


@dataclass(frozen=True, slots=True)
class Told:
    """All that a phrase is made of."""

    found: Interval
    limit: float
    unit: Unit
    metric: Metric
    subject: str
    """What else names the figure: the class of a class's drop, the teacher of a speedup."""
    with_ends: bool
    """Whether the interval is told: where the limit lies inside it."""
    places: int
    """Decimals that tell the figure from the limit."""

    def amount(self, sign: int = 1) -> str:
        """The figure with its unit, and its interval where that matters; `sign` -1 turns a drop into a gain."""
        low, high = sorted((sign * self.found.low, sign * self.found.high))
        value = sign * self.found.estimate
        number = figure(value, self.unit, suffix=self.metric.suffix, places=self.places)
        return f"{number} {ends(value, low, high, self.unit)}" if self.with_ends else number


def speedup(told: Told) -> str:
    how, than = ("as fast", "as") if told.found.estimate < 1 else ("faster", "than")
    against = f" {than} {told.subject}" if told.subject else ""
    return f"{told.amount()} {how}{against} ({as_given(told.limit, 'ratio')}x asked)"


def end_to_end(told: Told) -> str:
    how = "as fast" if told.found.estimate < 1 else "faster"
    return f"{told.amount()} {how} end to end ({as_given(told.limit, 'ratio')}x asked)"


def drop(told: Told) -> str:
    than, higher = f"the {told.metric.before}'s", told.metric.higher_is_better
    return difference(told, told.metric.name, than, higher_is_better=higher)


def class_drop(told: Told) -> str:
    return difference(told, f"recall of {told.subject or 'the worst class'}", f"the {told.metric.before}'s")


def difference(told: Told, what: str, than: str, *, higher_is_better: bool = True) -> str:
    """What got worse by so much, in the words of its direction."""
    allowed = as_given(told.limit, told.unit)
    worse, better = ("below", "above") if higher_is_better else ("above", "below")
    if told.found.estimate > 0:
        return f"{what} {told.amount()} {worse} {than} ({allowed} allowed)"
    if told.found.estimate < 0:
        return f"{what} {told.amount(-1)} {better} {than} ({allowed} {worse} allowed)"
    near = f", {told.amount()}" if told.with_ends else ""
    return f"{what} equal to {than}{near} ({allowed} {worse} allowed)"


def retention(told: Told) -> str:
    kept = f"{told.amount()} of the {told.metric.before}'s {told.metric.name} kept"
    return f"{kept} ({as_given(told.limit, told.unit)} % asked)"


def gap_closed(told: Told) -> str:
    return f"{told.amount()} of the gap to the teacher closed ({as_given(told.limit, told.unit)} % asked)"


def throughput(told: Told) -> str:
    return f"{told.amount()} ({as_given(told.limit, told.unit)} rows/s asked)"


def budget(what: str) -> Callable[[Told], str]:
    def phrase(told: Told) -> str:
        return f"{what}{told.amount()} ({figure_as_given(told)} allowed)"

    return phrase


def figure_as_given(told: Told) -> str:
    return f"{as_given(told.limit, told.unit)} {'MB' if told.unit == 'mb' else 'ms'}"


PHRASES: Mapping[str, Callable[[Told], str]] = {
    "min_speedup": speedup,
    "end_to_end": end_to_end,
    "min_throughput": throughput,
    "max_drop": drop,
    "max_class_drop": class_drop,
    "min_retention": retention,
    "min_gap_closed": gap_closed,
    "p50_ms": budget("median latency "),
    "p99_ms": budget("P99 latency "),
    "max_size_mb": budget(""),
}
"""In the order in which they are told: what was gained, what it cost, then the budgets."""
