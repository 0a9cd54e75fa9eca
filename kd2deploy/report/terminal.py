"""The end of a run in the terminal: the verdict, the gates and the contenders.

On a terminal tables are drawn as wide as it is, and what is too long goes on in the next line: no name is ever cut. In
a pipe or a file there is one line per row, as long as it takes, to be searched and cut by other programs.
"""

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from kd2deploy.core.verdict import Outcome
from kd2deploy.report.formats import outcome
from kd2deploy.report.report import Report
from kd2deploy.report.sections import diagnosis
from kd2deploy.report.tables import Cell, Table, contenders, facts, gates

STYLE = {Outcome.PASS: "green", Outcome.FAIL: "red", Outcome.INCONCLUSIVE: "yellow", Outcome.INVALID: "magenta"}
TONES = {word.lower(): style for word, style in STYLE.items()}
LEFT_OUT = frozenset(
    {"sha256", "Spread (CV)", "In words", "Runtime", "Lowest recall", "P90", "Size", "s.d. over seeds", "Trained"}
)
"""Columns that the page has and a terminal has no room for."""
NAME_WIDTH = 32
"""As much of a name as stands in one line, if the terminal is wide enough for anything else."""


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the verdict panel, the gates, the contenders and what to know; text is never read as markup."""
    console = console or Console()
    if report.verdict:
        print_verdict(report, console)
    for table in (gates(report), contenders(report)):
        if table:
            print_table(table, console)
    for note in diagnosis(report).notes:
        print_text(f"- {note}", console)


def print_table(one: Table, console: Console) -> None:
    """A table as a person or as another program reads it."""
    if one.caption:
        console.print(Text(one.caption, style="dim"))
    if console.is_terminal:
        console.print(drawn(one))
        return
    for line in plain(one):
        print_text(line, console)


def print_text(text: str, console: Console) -> None:
    """Text that is never read as markup; wrapped at words on a terminal alone."""
    console.print(Text(text), soft_wrap=not console.is_terminal)


def print_verdict(report: Report, console: Console) -> None:
    if console.is_terminal:
        console.print(_verdict(report))
        return
    assert report.verdict is not None
    first = f"{outcome(report.verdict.outcome)}  {report.title}"
    for line in (first, report.verdict.sentence, *report.verdict.further):
        print_text(line, console)
    print_text("   ".join(f"{fact.value} {fact.label}" for fact in facts(report)), console)


def _verdict(report: Report) -> Panel:
    assert report.verdict is not None
    word = report.verdict.outcome
    lines = [Text(report.verdict.told, style="bold"), *(Text(reason) for reason in report.verdict.further)]
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
    kept = _kept(one)
    shown = RichTable(header_style="bold", show_header=any(one.head))
    for place in kept:
        longest = max((len(row[place].text) for row in one.rows), default=0)
        shown.add_column(
            Text(one.head[place]),
            justify="right" if place in one.numbers else "left",
            overflow="fold",
            min_width=min(longest, NAME_WIDTH) if place == kept[0] else None,
        )
    for row, cells in enumerate(one.rows):
        shown.add_row(*(_cell(cells[place]) for place in kept), style="bold" if row in one.strong else "")
    return shown


def plain(one: Table) -> list[str]:
    """A line per row, columns below each other, nothing wrapped and nothing behind the last one."""
    kept = _kept(one)
    head = [[one.head[place] for place in kept]] if any(one.head) else []
    rows = head + [[" ".join(f"{row[at].text} {row[at].under}".split()) for at in kept] for row in one.rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(kept))] if rows else []
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, ""]


def _kept(one: Table) -> list[int]:
    return [place for place, name in enumerate(one.head) if name not in LEFT_OUT]


def _cell(cell: Cell) -> Text:
    text = Text(cell.text, style=TONES.get(cell.tone, ""))
    return text.append(f"\n{cell.under}", style="dim") if cell.under else text
