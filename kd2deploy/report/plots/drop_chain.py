"""Where the metric is lost, step by step."""

from html import escape
from textwrap import wrap

from kd2deploy.core.losses import DropLink
from kd2deploy.report.formats import metric_unit, point, with_interval
from kd2deploy.report.plots.dress import INK, ROLE_COLOR, Figure, arms, blank, metric_axis
from kd2deploy.report.report import Report

ROW_PX = 56
"""A step's row, with room for the change above its point."""
LABEL_LETTERS = 16


def drop_chain(report: Report) -> Figure | None:
    """The headline metric at every step from the teacher to the deployed artifact, with 95 % intervals.

    Steps stand below each other, so that names and changes have room on a narrow screen too.
    """
    links = [link for link in report.drop_chain if link.metric and link.metric.value is not None]
    if len(links) < 2:
        return None
    title, scale = metric_axis(report)
    unit, delta, suffix = metric_unit(report.task)
    metrics = [link.metric for link in links]
    values = [metric.value * scale for metric in metrics if metric and metric.value is not None]
    steps = [label(place, link) for place, link in enumerate(links, 1)]
    drawing = blank(70 + ROW_PX * len(links))
    drawing.add_scatter(
        x=values,
        y=steps,
        error_x=arms(metrics, scale) | {"color": ROLE_COLOR["student"]},
        mode="lines+markers",
        line={"color": ROLE_COLOR["student"], "width": 2, "shape": "vh", "dash": "dot"},
        marker={
            "size": 11,
            "color": [ROLE_COLOR["teacher"], *[ROLE_COLOR["student"]] * (len(links) - 1)],
            "symbol": ["square", *["circle"] * (len(links) - 1)],
        },
        hovertext=[
            f"<b>{escape(link.step)}</b><br>{with_interval(link.metric, unit, suffix=suffix)}"
            + (f"<br>change {with_interval(link.delta, delta, suffix=suffix, signed=True)}" if link.delta else "")
            for link in links
        ],
        hoverinfo="text",
        showlegend=False,
    )
    middle = (min(values) + max(values)) / 2
    for step, link, value in zip(steps, links, values, strict=True):
        if link.delta:
            drawing.add_annotation(
                x=value,
                y=step,
                yshift=8,
                yanchor="bottom",
                xanchor="right" if value >= middle else "left",  # towards the middle, where there is room
                text=point(link.delta, delta, suffix=suffix, signed=True),
                showarrow=False,
                font={"color": INK, "size": 12},
            )
    drawing.update_xaxes(title_text=title)
    drawing.update_yaxes(autorange="reversed", ticks="")
    return drawing


def label(place: int, link: DropLink) -> str:
    """A step's number and name in lines that leave room on a phone."""
    return "<br>".join(map(escape, wrap(f"{place}. {link.step}", LABEL_LETTERS)))
