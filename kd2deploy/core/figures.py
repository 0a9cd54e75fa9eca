"""Numbers as people read them: one rounding for the verdict, the pages, the terminal and every sentence between."""

import math
from collections.abc import Sequence
from typing import Literal

Unit = Literal["share", "points", "ratio", "ms", "mb", "rate", "number"]
"""How a figure is written: 0.913 as 91.30 % (share) or 91.30 points (a difference of shares), 4.3 as 4.30x,
812 as 812.0 rows/s (rate)."""

MetricUnit = Literal["share", "number"]
"""A metric that is a `share` is 0..1 and told in percent, its drops in points; a `number` is told as it stands."""

SUFFIX: dict[Unit, str] = {
    "share": " %",
    "points": " points",
    "ratio": "x",
    "ms": " ms",
    "mb": " MB",
    "rate": " rows/s",
    "number": "",
}
HUNDREDTHS: frozenset[Unit] = frozenset({"share", "points"})
DIGITS: dict[Unit, int] = {"ratio": 3, "ms": 3, "mb": 3, "rate": 4, "number": 4}
"""Significant digits; shares and points have two decimals instead, so that they line up and can be subtracted."""
MOST_DECIMALS: dict[Unit, int] = {"ratio": 2, "ms": 6, "mb": 6, "rate": 6, "number": 6}


def decimals(value: float, unit: Unit, width: float = math.nan) -> int:
    """How many decimals a value is written with. `width` is its interval's: a plain number or a rate is written no
    finer than by two digits of half of it, since what follows is chance."""
    if unit in HUNDREDTHS:
        return 2
    if unit in ("number", "rate") and math.isfinite(width) and width > 0:
        return min(decimals(value, unit), max(0, 1 - math.floor(math.log10(width / 2))))
    if value == 0:
        return min(MOST_DECIMALS[unit], DIGITS[unit] - 1)
    power = int(f"{abs(value):.{DIGITS[unit] - 1}e}".partition("e")[2])  # of the rounded value: 9.999 is read as 10.0
    return min(MOST_DECIMALS[unit], max(0, DIGITS[unit] - 1 - power))


def bare(value: float, unit: Unit, places: int | None = None, signed: bool = False) -> str:
    """The number without its unit; shares and points are written in hundredths."""
    places = decimals(value, unit) if places is None else places
    shown = value * 100 if unit in HUNDREDTHS else value
    text = f"{shown:{'+' if signed else ''},.{places}f}"
    return text.lstrip("+-") if float(text.replace(",", "")) == 0 else text


def figure(value: float, unit: Unit, *, suffix: str = "", signed: bool = False, places: int | None = None) -> str:
    """A number with its unit: `12.3 ms`, `4.30x`, `91.32 %`, `-1.24 points`; `suffix` is the unit of a plain number."""
    return bare(value, unit, places, signed) + (SUFFIX[unit] or (f" {suffix}" if suffix else ""))


def percent(share: float) -> str:
    """A share that is known roughly: `78 %`."""
    return figure(share, "share", places=0)


def alike(value: float) -> str:
    """How alike two answers are, 0..1: four decimals, since what matters is how little is lacking."""
    return f"{value:.4f}"


def as_given(value: float, unit: Unit) -> str:
    """A limit as somebody wrote it, without its unit: `4`, `2.5`, and 0.02 points as `2`."""
    return f"{value * 100 if unit in HUNDREDTHS else value:.10g}"


def ends(value: float, low: float, high: float, unit: Unit, signed: bool = False, places: int | None = None) -> str:
    """An interval as precise as its estimate: `[12.1, 12.6]`; an end that is not known (not finite) is `..`."""
    places = decimals(value, unit, high - low) if places is None else places
    return f"[{', '.join(bare(end, unit, places, signed) if math.isfinite(end) else '..' for end in (low, high))}]"


def apart(value: float, limit: float, unit: Unit, width: float = math.nan) -> int:
    """Decimals by which a value does not look like a limit that it is not: 3.998x against 4x takes three."""
    scale = 100 if unit in HUNDREDTHS else 1
    places = decimals(value, unit, width)
    while value != limit and round(value * scale, places) == round(limit * scale, places) and places < 9:
        places += 1
    return places


def count_of(number: float, one: str, many: str = "") -> str:
    """`1 seed`, `3 seeds`, `no seeds`, `0.5 epochs`: all that is counted is told by it."""
    word = one if number == 1 else many or f"{one}s"
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {word}" if number else f"no {word}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few of many names: `a, b and 7 more`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most:,} more"
