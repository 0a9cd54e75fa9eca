"""A table as text: rendered alike as HTML, as Markdown and for the terminal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from kd2deploy.core.estimate import Estimate
from kd2deploy.core.figures import Unit
from kd2deploy.report.formats import (
    MISSING,
    interval_or_why,
    point,
)
from kd2deploy.report.origin import Plain


@dataclass(frozen=True)
class Cell:
    """Text, a second line in smaller print, and how it is dressed."""

    text: str
    under: str = ""
    tone: str = ""
    """The outcome or role whose colour it bears; the text alone says the same."""
    code: bool = False


@dataclass(frozen=True)
class Table:
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: frozenset[int] = frozenset()
    """Columns that are aligned to the right."""
    strong: frozenset[int] = frozenset()
    """Rows that stand out: what is deployed, what was chosen."""


@dataclass(frozen=True)
class Fact:
    """One figure of the headline."""

    label: str
    value: str
    under: str = ""
    tone: str = ""


def told(known: Estimate | None, unit: Unit, suffix: str = "", signed: bool = False) -> Cell:
    """A figure with its interval in smaller print, or why it has none."""
    return Cell(point(known, unit, suffix=suffix, signed=signed), under=interval_or_why(known, unit, signed=signed))


def used(table: Table) -> Table:
    """The table without the columns that hold nothing in any row."""
    keep = [
        place
        for place in range(len(table.head))
        if any(row[place].text not in ("", MISSING) or row[place].under for row in table.rows)
    ]
    return replace(
        table,
        head=tuple(table.head[place] for place in keep),
        rows=tuple(tuple(row[place] for place in keep) for row in table.rows),
        numbers=frozenset(new for new, old in enumerate(keep) if old in table.numbers),
    )


def names_of(groups: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def pairs(caption: str, values: Mapping[str, Plain]) -> Table | None:
    """A table of names and values."""
    if not values:
        return None
    return Table(
        caption=caption,
        head=("", "Value"),
        rows=tuple((Cell(name), Cell(plain(value))) for name, value in values.items()),
    )


def plain(value: Plain) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return str(value)
