"""What a report holds as text, by the one rounding of `core.figures`; and the kinds of number that only a page has."""

import math
from datetime import datetime

from kd2deploy.core.estimate import Estimate, is_vague
from kd2deploy.core.figures import Unit, bare, decimals, ends
from kd2deploy.core.figures import figure as known_figure
from kd2deploy.core.verdict import Outcome
from kd2deploy.report.origin import TaskInfo

MISSING = "n/a"
ICONS = {Outcome.PASS: "✓", Outcome.FAIL: "✗", Outcome.INCONCLUSIVE: "?", Outcome.INVALID: "⊘"}
MEANING = {
    Outcome.PASS: "every limit is met, even at the pessimistic end of its interval",
    Outcome.FAIL: "at least one limit is missed even at the optimistic end of its interval, or its figure is missing",
    Outcome.INCONCLUSIVE: "the measurement is too noisy or too short to tell",
    Outcome.INVALID: "the measurement breaks a rule and must not be used",
}


def figure(value: float | None, unit: Unit, *, suffix: str = "", signed: bool = False) -> str:
    """A number with its unit: `12.3 ms`, `4.30x`, `91.32 %`, `-1.24 points`; `suffix` is the unit of a plain number."""
    return MISSING if value is None else known_figure(value, unit, suffix=suffix, signed=signed)


def point(known: Estimate | None, unit: Unit, *, suffix: str = "", signed: bool = False) -> str:
    """An estimate without its interval, or why there is none."""
    if known is None:
        return MISSING
    if known.value is None:
        return known.note or MISSING
    width = math.nan if known.low is None or known.high is None else known.high - known.low
    return known_figure(known.value, unit, suffix=suffix, signed=signed, places=decimals(known.value, unit, width))


def interval(known: Estimate | None, unit: Unit, *, signed: bool = False, places: int | None = None) -> str:
    """The 95 % interval: `[12.1, 12.6]`; an end that is not known is written as `..`; empty if neither is."""
    if known is None or (known.low is None and known.high is None):
        return ""
    scale = next(value for value in (known.value, known.low, known.high) if value is not None)
    low, high = (math.nan if end is None else end for end in (known.low, known.high))
    return ends(scale, low, high, unit, signed, places)


def interval_or_why(known: Estimate | None, unit: Unit, *, signed: bool = False) -> str:
    """The 95 % interval, or why a value has none; empty where there is no value."""
    if known is None or known.value is None:
        return interval(known, unit, signed=signed)
    return interval(known, unit, signed=signed) or known.note


def times(ratio: Estimate) -> str:
    """How many times faster; its ends where the interval is so wide that its middle says nothing: `147x to 16,485x`."""
    if not is_vague(ratio.low, ratio.high) or ratio.low is None:
        return point(ratio, "ratio")
    if ratio.high is None:
        return f"at least {figure(ratio.low, 'ratio')}"
    return f"{figure(ratio.low, 'ratio')} to {figure(ratio.high, 'ratio')}"


def with_interval(known: Estimate | None, unit: Unit, *, suffix: str = "", signed: bool = False) -> str:
    """An estimate and its interval: `12.3 ms [12.1, 12.6]`, or why it has none: `12.3 ms (too few for an interval)`."""
    ends = interval_or_why(known, unit, signed=signed)
    shown = ends if not ends or ends.startswith("[") else f"({ends})"
    return point(known, unit, suffix=suffix, signed=signed) + (f" {shown}" if shown else "")


def metric_unit(task: TaskInfo | None) -> tuple[Unit, Unit, str]:
    """Of the headline metric: the unit of a value, the unit of a difference, and the suffix of both."""
    if task is not None and task.metric_unit == "number":
        return "number", "number", task.metric_suffix
    return "share", "points", ""


def ms(value: float | None) -> str:
    return figure(value, "ms")


def size(megabytes: float | None) -> str:
    """`812 kB`, `17.4 MB` or `1.32 GB`."""
    if megabytes is None:
        return MISSING
    for factor, unit in ((1e3, "GB"), (1.0, "MB")):
        if megabytes >= factor:
            return f"{bare(megabytes / factor, 'mb')} {unit}"
    return f"{bare(megabytes * 1e3, 'mb')} kB"


def seconds(value: float | None) -> str:
    """`0.41 s`, `12.3 s`, `4 min 05 s` or `2 h 07 min`."""
    if value is None:
        return MISSING
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(value / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def parameters(value: int | None) -> str:
    """`29.1 M` parameters, `812 k` or a plain number."""
    if value is None:
        return MISSING
    for factor, unit in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= factor:
            return f"{value / factor:.1f}{unit}"
    return str(value)


def short_hash(sha256: str) -> str:
    """The first twelve digits: enough to tell the artifacts of a run apart."""
    return sha256[:12]


def moment(iso: str) -> str:
    """`2026-11-23 19:05 UTC`; what is no ISO date is given back as it stands."""
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{when:%Y-%m-%d %H:%M} {when.tzname() or ''}".strip()


def outcome(word: Outcome) -> str:
    """The word with its sign, so that colour is never alone."""
    return f"{ICONS[word]} {word}"
