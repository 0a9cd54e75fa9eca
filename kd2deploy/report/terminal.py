"""The end of a run in the terminal: the verdict, the gates and the contenders."""

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from kd2deploy.report.formats import outcome
from kd2deploy.report.report import Outcome, Report
from kd2deploy.report.sections import diagnosis
from kd2deploy.report.tables import Cell, Table, contenders, facts, gates

STYLE: dict[Outcome, str] = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "INVALID": "magenta"}
TONES = {word.lower(): style for word, style in STYLE.items()}
LEFT_OUT = frozenset(
    {"sha256", "Spread (CV)", "In words", "Runtime", "Lowest recall", "P90", "Size", "s.d. over seeds", "Trained"}
)
"""Columns that the page has and a terminal has no room for."""


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the verdict panel, the gates, the contenders and what to know; text is never read as markup."""
    console = console or Console()
    if report.verdict:
        console.print(_verdict(report))
    for table in (gates(report), contenders(report)):
        if table:
            console.print(drawn(table))
    for note in diagnosis(report).notes:
        console.print(Text(f"- {note}"))


def _verdict(report: Report) -> Panel:
    assert report.verdict is not None
    word = report.verdict.outcome
    lines = [Text(report.verdict.sentence, style="bold"), *(Text(reason) for reason in report.verdict.reasons)]
    figures = Text("   ".join(f"{fact.value} {fact.label}" for fact in facts(report)))
    return Panel(
        Group(*lines, *([figures] if figures.plain else [])),
        title=Text(f" {outcome(word)} ", style=f"bold {STYLE[word]}"),
        title_align="left",
        subtitle=Text(report.title),
        border_style=STYLE[word],
    )


def drawn(one: Table) -> RichTable:
    """A table for the terminal, without the columns that it has no room for."""
    kept = [place for place, name in enumerate(one.head) if name not in LEFT_OUT]
    shown = RichTable(title=Text(one.caption), title_justify="left", title_style="dim", header_style="bold")
    for place in kept:
        shown.add_column(Text(one.head[place]), justify="right" if place in one.numbers else "left")
    for row, cells in enumerate(one.rows):
        shown.add_row(*(_cell(cells[place]) for place in kept), style="bold" if row in one.strong else "")
    return shown


def _cell(cell: Cell) -> Text:
    text = Text(cell.text, style=TONES.get(cell.tone, ""))
    return text.append(f"\n{cell.under}", style="dim") if cell.under else text
