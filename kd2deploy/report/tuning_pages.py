"""A search as a page, as Markdown and on the terminal, from the same words and tables."""

import json
from pathlib import Path

from markupsafe import Markup
from rich.console import Console

from kd2deploy.core.written import write_text
from kd2deploy.report import html, markdown
from kd2deploy.report import tuning_text as text
from kd2deploy.report.html import Drawing
from kd2deploy.report.tables import Table
from kd2deploy.report.terminal import print_table, print_text
from kd2deploy.report.tuning import Tuning


def render_tuning_html(found: Tuning) -> str:
    """One page with everything inline."""
    from plotly.offline import get_plotlyjs

    from kd2deploy.report.plots.search import coordinates

    drawn = [
        Drawing(f"plot-{one.role}", f"Trials of the {one.role}", json.loads(coordinates(found, one).to_json()))
        for one in found.searches
    ]
    return (
        html.environment()
        .get_template("tuning.html.jinja")
        .render(
            found=found,
            drawings=drawn,
            figures={one.key: one.figure for one in drawn},
            caption=text.CAPTION,
            style=html.inlined("report.css"),
            script=html.inlined("report.js"),
            plotly=Markup(get_plotlyjs()),
            **told(found),
        )
    )


def render_tuning_markdown(found: Tuning) -> str:
    """GitHub Markdown: the page without its figures."""
    return markdown.tidy(markdown.environment().get_template("tuning.md.jinja").render(found=found, **told(found)))


def told(found: Tuning) -> dict[str, object]:
    return {
        "about": text.about(found),
        "conclusions": text.conclusions(found),
        "caveats": text.caveats(found),
        "tables": [one for one in (text.seeds(found), text.cost(found)) if one is not None],
        "folded": folded(found),
        "pages": [(one.target, one.page) for one in found.judged],
    }


def folded(found: Tuning) -> list[Table]:
    several = ((text.finals(found, one), text.trials(found, one), text.space(one)) for one in found.searches)
    return [table for tables in several for table in tables if table.rows]


def print_tuning(found: Tuning, console: Console | None = None) -> None:
    console = console or Console()
    print_table(text.cost(found), console)
    for line in text.conclusions(found):
        print_text(f"- {line}", console)


def write_tuning(found: Tuning, folder: Path) -> dict[str, Path]:
    """`tuning` as .json, .html and .md."""
    files = {kind: folder / f"tuning.{kind}" for kind in ("json", "html", "md")}
    found.write(files["json"])
    write_text(files["html"], render_tuning_html(found))
    write_text(files["md"], render_tuning_markdown(found))
    return files
