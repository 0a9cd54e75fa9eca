"""The report as GitHub Markdown, for a pull request: the page's content without its figures."""

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from kd2deploy.report.formats import ICONS, MEANING
from kd2deploy.report.report import Report
from kd2deploy.report.sections import sections, subtitle
from kd2deploy.report.tables import Cell, Table, facts, gates

SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$!&@])")
"""What GitHub may read as markup, a mention or mathematics."""


class Verbatim(str):
    """Text that is Markdown already."""


def escaped(value: Any) -> Any:
    """Text shown as it is: on one line, with a backslash before every letter that Markdown could read."""
    if isinstance(value, Verbatim) or not isinstance(value, str):
        return value
    return Verbatim(SPECIAL.sub(r"\\\1", " ".join(value.split())))


def table(one: Table) -> Verbatim:
    """A pipe table under its caption."""
    rule = "|".join("---:" if place in one.numbers else "---" for place in range(len(one.head)))
    rows = [" | ".join(_cell(cell, place in one.strong) for cell in row) for place, row in enumerate(one.rows)]
    head = " | ".join(escaped(name) or " " for name in one.head)
    lines = [f"*{escaped(one.caption)}*", "", f"| {head} |", f"|{rule}|", *(f"| {row} |" for row in rows)]
    return Verbatim("\n".join(lines))


def _cell(cell: Cell, strong: bool) -> str:
    text = f"<code>{_entities(cell.text)}</code>" if cell.code and cell.text else escaped(cell.text)
    text = f"**{text}**" if strong and text else text
    return text + (f"<br><sub>{escaped(cell.under)}</sub>" if cell.under else "")


def _entities(text: str) -> str:
    """Inside an HTML element a backslash does not escape everywhere, an entity does."""
    return "".join(letter if letter.isalnum() or letter in " .,:/-" else f"&#{ord(letter)};" for letter in text)


def fenced(text: str, language: str = "") -> Verbatim:
    """A code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Verbatim(f"{fence}{language}\n{text.rstrip()}\n{fence}")


def environment() -> Environment:
    """Templates in which every value is escaped unless it is `Verbatim`."""
    made = Environment(
        loader=PackageLoader("kd2deploy.report"),
        autoescape=False,
        finalize=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"table": table, "fenced": fenced}
    return made


def render_markdown(report: Report) -> str:
    """The whole report; every text of it is escaped."""
    text = (
        environment()
        .get_template("report.md.jinja")
        .render(
            report=report,
            subtitle=subtitle(report),
            icons=ICONS,
            meaning=MEANING,
            facts=facts(report),
            gates=gates(report),
            sections=sections(report),
        )
    )
    return tidy(text)


def tidy(text: str) -> str:
    """At most one empty line in a row outside code blocks, none at the ends."""
    lines: list[str] = []
    fence = ""
    for line in text.splitlines():
        mark = re.match("`{3,}", line)
        if mark and not fence:
            fence = mark.group()
        elif fence and line == fence:
            fence = ""
        if line.strip() or fence or (lines and lines[-1]):
            lines.append(line if fence else line.rstrip())
    return "\n".join(lines).strip() + "\n"
