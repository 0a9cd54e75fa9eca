"""A comparison as a page, as Markdown and on the terminal, from the same words and tables."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from kd2deploy.core.written import write_text
from kd2deploy.report import comparison_text as text
from kd2deploy.report import html, markdown
from kd2deploy.report.comparison import Comparison
from kd2deploy.report.comparison_plot import CAPTION, render_svg, title
from kd2deploy.report.ranking import Ranking
from kd2deploy.report.tables import comparison as tables
from kd2deploy.report.terminal import print_table, print_text


def render_comparison_html(found: Comparison) -> str:
    """One page with everything inline, no script."""
    return (
        html.environment()
        .get_template("comparison.html.jinja")
        .render(
            found=found,
            about=text.about(found),
            facts=tables.facts(found),
            conclusions=text.conclusions(found),
            caveats=text.caveats(found),
            standings=tables.standings(found),
            folded=tables.folded(found),
            plot=render_svg(found),
            plot_title=title(found),
            caption=CAPTION,
            style=html.inlined("report.css"),
        )
    )


def render_comparison_markdown(found: Comparison, plot: str = "") -> str:
    """GitHub Markdown; `plot` is the address of the SVG beside it, left out when empty."""
    return markdown.tidy(
        markdown.environment()
        .get_template("comparison.md.jinja")
        .render(
            found=found,
            about=text.about(found),
            conclusions=text.conclusions(found),
            caveats=text.caveats(found),
            standings=tables.standings(found),
            folded=tables.folded(found),
            plot=markdown.Verbatim(plot),
            plot_title=title(found),
        )
    )


def print_comparison(found: Comparison, console: Console | None = None) -> None:
    """The table and what it says; the caveats stand in the pages."""
    console = console or Console()
    print_table(tables.standings(found), console)
    for line in (*text.conclusions(found), *found.warnings):
        print_text(f"- {line}", console)
    for name, reason in found.left_out.items():
        print_text(f"- left out: {name} ({reason})", console)


def write_comparison(found: Comparison, folder: Path) -> dict[str, Path]:
    """`comparison-<budget>` as .json, .html, .md and .svg."""
    stem = folder / f"comparison-{found.budget}"
    return written(found, stem, render_comparison_html(found), render_svg(found), render_comparison_markdown)


Told = TypeVar("Told", Comparison, Ranking)


def written(found: Told, stem: Path, page: str, plot: str, markdown: Callable[[Told, str], str]) -> dict[str, Path]:
    """What was found as .json; beside it its page, its plot, and the Markdown that shows the plot."""
    files = {kind: stem.with_suffix(f".{kind}") for kind in ("json", "html", "md", "svg")}
    found.write(files["json"])
    write_text(files["html"], page)
    write_text(files["svg"], plot + "\n")
    write_text(files["md"], markdown(found, files["svg"].name))
    return files
