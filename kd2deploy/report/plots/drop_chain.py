"""Where the metric is lost, step by step."""

from html import escape
from textwrap import wrap

from kd2deploy.report.formats import metric_unit, point, with_interval
from kd2deploy.report.plots.dress import INK, ROLE_COLOR, Figure, arms, blank, metric_axis
from kd2deploy.report.report import Report


def drop_chain(report: Report) -> Figure | None:
    """The headline metric at every step from the teacher to the deployed artifact, with 95 % intervals."""
    links = [link for link in report.drop_chain if link.metric and link.metric.value is not None]
    if len(links) < 2:
        return None
    title, scale = metric_axis(report)
    unit, delta, suffix = metric_unit(report.task)
    metrics = [link.metric for link in links]
    steps = [f"{place}.<br>" + "<br>".join(map(escape, wrap(link.step, 9))) for place, link in enumerate(links, 1)]
    drawing = blank(320)
    drawing.add_scatter(
        x=steps,
        y=[metric.value * scale for metric in metrics if metric and metric.value is not None],
        error_y=arms(metrics, scale) | {"color": ROLE_COLOR["student"]},
        mode="lines+markers",
        line={"color": ROLE_COLOR["student"], "width": 2, "shape": "hv", "dash": "dot"},
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
    for step, link in zip(steps, links, strict=True):
        if link.delta and link.metric and link.metric.value is not None:
            drawing.add_annotation(
                x=step,
                y=(link.metric.low if link.metric.low is not None else link.metric.value) * scale,
                yshift=-6,
                yanchor="top",
                text=point(link.delta, delta, suffix=suffix, signed=True),
                showarrow=False,
                font={"color": INK, "size": 12},
            )
    drawing.update_yaxes(title_text=title)
    drawing.update_xaxes(tickangle=0)
    return drawing
