"""The report as one page: everything inline, nothing fetched, so that it opens from disk years later."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from kd2deploy.report.formats import ICONS, MEANING
from kd2deploy.report.report import Report
from kd2deploy.report.sections import CAPTIONS, sections, subtitle
from kd2deploy.report.tables import facts, gates


@dataclass(frozen=True)
class Drawing:
    """A figure on the page: its element's id, what it shows, and plotly's own JSON."""

    key: str
    title: str
    figure: Any


def render_html(report: Report) -> str:
    """The whole page. Every text of the report is escaped; plotly's script is inlined once (about 4.8 MB)."""
    from plotly.offline import get_plotlyjs

    drawn = drawings(report)
    shown = sections(report)
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            subtitle=subtitle(report),
            icons=ICONS,
            meaning=MEANING,
            facts=facts(report),
            gates=gates(report),
            sections=shown,
            drawings=drawn,
            captions=CAPTIONS,
            figures={one.key: one.figure for group in drawn.values() for one in group},
            style=inlined("report.css"),
            script=inlined("report.js"),
            plotly=Markup(get_plotlyjs()) if drawn else "",
        )
    )


def environment() -> Environment:
    """Templates in which every value is escaped unless it is `Markup`."""
    found = Environment(
        loader=PackageLoader("kd2deploy.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["coded"] = coded
    return found


def coded(text: str) -> Markup:
    """A sentence, escaped, in which what stands between backticks is code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def inlined(name: str) -> Markup:
    """One of the package's own files, to stand in the page as it is."""
    pages = environment()
    assert pages.loader is not None
    source, _, _ = pages.loader.get_source(pages, name)
    return Markup(source)


def drawings(report: Report) -> dict[str, list[Drawing]]:
    """The figures that the report has something for, by the name of the function that draws them."""
    from kd2deploy.report import plots

    single: tuple[Callable[[Report], plots.Figure | None], ...] = (
        plots.accuracy_latency,
        plots.latency,
        plots.roofline,
        plots.drop_chain,
        plots.distillation,
        plots.training_score,
        plots.candidates,
    )
    found: dict[str, list[Drawing]] = {}
    for draw in single:
        figure = draw(report)
        if figure is not None:
            name = draw.__name__
            found[name] = [Drawing(f"plot-{name}", CAPTIONS[name], _plain(figure))]
    losses = plots.training_losses(report)
    if losses:
        found["training_losses"] = [
            Drawing(f"plot-loss-{place}", f"Loss term {name}", _plain(figure))
            for place, (name, figure) in enumerate(losses.items())
        ]
    return found


def _plain(figure: Any) -> Any:
    """Plotly's figure as plain lists and dictionaries."""
    import json

    return json.loads(figure.to_json())
