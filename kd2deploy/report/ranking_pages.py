"""A ranking as a page, as Markdown and on the terminal, from the same words and tables."""

from pathlib import Path

from rich.console import Console

from kd2deploy.report import html, markdown
from kd2deploy.report import ranking_text as text
from kd2deploy.report.comparison_pages import written
from kd2deploy.report.ranking import Ranking
from kd2deploy.report.ranking_plot import CAPTION, render_ranks
from kd2deploy.report.terminal import print_table, print_text


def render_ranking_html(found: Ranking) -> str:
    """One page with everything inline, no script."""
    template = html.environment().get_template("ranking.html.jinja")
    style = html.inlined("report.css")
    return template.render(found=found, plot=render_ranks(found), caption=CAPTION, style=style, **told(found))


def render_ranking_markdown(found: Ranking, plot: str = "") -> str:
    """GitHub Markdown; `plot` is the address of the SVG beside it, left out when empty."""
    template = markdown.environment().get_template("ranking.md.jinja")
    return markdown.tidy(template.render(found=found, plot=markdown.Verbatim(plot), caption=CAPTION, **told(found)))


def told(found: Ranking) -> dict[str, object]:
    return {
        "title": text.title(found),
        "about": text.about(found),
        "conclusions": text.conclusions(found),
        "caveats": text.caveats(found),
        "ranks": text.ranks(found),
        "contested": text.contested(found),
        "trained": text.trained(found),
    }


def print_ranking(found: Ranking, console: Console | None = None) -> None:
    console = console or Console()
    print_table(text.ranks(found), console)
    for line in text.conclusions(found):
        print_text(f"- {line}", console)


def write_ranking(found: Ranking, folder: Path) -> dict[str, Path]:
    """`ranking-<budget>` as .json, .html, .md and .svg."""
    stem = folder / f"ranking-{found.budget}"
    return written(found, stem, render_ranking_html(found), render_ranks(found), render_ranking_markdown)
