"""The contenders' accuracy and latency."""

from collections.abc import Sequence
from html import escape
from itertools import cycle
from math import log10
from textwrap import wrap

from kd2deploy.report.formats import metric_unit, with_interval
from kd2deploy.report.measurement import Measurement
from kd2deploy.report.plots.dress import (
    INK,
    ROLE_COLOR,
    ROLE_SYMBOL,
    Figure,
    arms,
    blank,
    gate_limit,
    limit_line,
    log_ticks,
    metric_axis,
)
from kd2deploy.report.report import Report

VARIANT_SYMBOLS = (
    "triangle-up",
    "triangle-down",
    "pentagon",
    "hexagram",
    "cross",
    "hourglass",
    "bowtie",
    "triangle-left",
)
"""Of the other ways to deploy, in their order: they share a colour, so that the shape tells them apart."""


def accuracy_latency(report: Report) -> Figure | None:
    """Metric against median latency (log), both with 95 % intervals; the gates as dashed lines."""
    shown = [
        (one, one.metric, one.timing.median)
        for one in report.contenders
        if one.metric and one.timing and one.metric.value is not None and one.timing.median.value is not None
    ]
    if not shown:
        return None
    title, scale = metric_axis(report)
    unit, _, suffix = metric_unit(report.task)
    drawing = blank(380, legend_rows=len(shown))
    drawing.update_layout(margin={"t": 26})
    symbols = _symbols([one for one, *_ in shown])
    for (one, metric, median), symbol in zip(shown, symbols, strict=True):
        assert metric.value is not None
        assert median.value is not None
        color = ROLE_COLOR[one.role]
        drawing.add_scatter(
            x=[median.value],
            y=[metric.value * scale],
            error_x=arms([median]) | {"color": color},
            error_y=arms([metric], scale) | {"color": color},
            mode="markers",
            marker={
                "symbol": symbol,
                "size": 16 if one.deployed else 11,
                "color": color,
                "line": {"color": INK if one.deployed else color, "width": 2 if one.deployed else 0},
            },
            name=("★ " if one.deployed else "") + escape(one.name),
            hovertext=f"<b>{escape(one.name)}</b><br>{with_interval(metric, unit, suffix=suffix)}"
            f"<br>median {with_interval(median, 'ms')}",
            hoverinfo="text",
        )
    _accuracy_speed_limits(drawing, report, scale)
    reach = [end for *_, median in shown for end in (median.low, median.value, median.high)]
    drawing.update_xaxes(title_text="median latency (ms): further left is faster", **log_ticks(reach))
    drawing.update_yaxes(title_text=title)
    return drawing


def _symbols(shown: Sequence[Measurement]) -> list[str]:
    """A shape for each: its role's, and for the variants one after the other."""
    variants = cycle(VARIANT_SYMBOLS)
    return [next(variants) if one.role == "variant" else ROLE_SYMBOL[one.role] for one in shown]


def _accuracy_speed_limits(drawing: Figure, report: Report, scale: float) -> None:
    """The gates as lines: the worst metric and the slowest median that may pass."""
    before = report.before
    drop, speed = gate_limit(report, "max_drop"), gate_limit(report, "min_speedup")
    if before and before.metric and before.metric.value is not None and drop is not None:
        higher = report.task is None or report.task.higher_is_better
        worst, worse_by = ("lowest", -drop) if higher else ("highest", drop)
        limit_line(drawing, f"{worst} metric allowed", y=(before.metric.value + worse_by) * scale)
    judged = next((one for one in report.speedups if one.gates), None)
    before = next((one for one in report.contenders if judged and one.name == judged.against), None)
    median = before.timing.median.value if before and before.timing else None
    if median and speed:
        limit_line(drawing, "slowest allowed", x=median / speed, place=log10(median / speed))


def latency(report: Report) -> Figure | None:
    """Each contender's latency samples on a logarithmic axis: quartile box, points, and the stated percentiles."""
    shown = [(one, one.timing) for one in report.contenders if one.timing and one.timing.samples_ms]
    if not shown:
        return None
    drawing = blank(90 + 62 * len(shown))
    for one, timing in shown:
        color = ROLE_COLOR[one.role]
        drawing.add_box(
            x=list(timing.samples_ms),
            y=[_row_label(one)] * len(timing.samples_ms),
            orientation="h",
            boxpoints="all",
            jitter=0.5,
            pointpos=0,
            whiskerwidth=0.4,
            line={"color": color, "width": 1.5},
            marker={"color": color, "size": 3, "opacity": 0.35},
            fillcolor="rgba(0,0,0,0)",
            hoveron="boxes",
            hoverinfo="skip",
            showlegend=False,
        )
    for name, symbol in (("median", "line-ns"), ("p90", "diamond-tall"), ("p99", "star-diamond")):
        stated = [(one, timing, getattr(timing, name)) for one, timing in shown]
        stated = [(one, timing, known) for one, timing, known in stated if known.value is not None]
        label = "median" if name == "median" else name.upper()
        drawing.add_scatter(
            x=[known.value for *_, known in stated],
            y=[_row_label(one) for one, *_ in stated],
            mode="markers",
            marker={"symbol": symbol, "size": 13, "color": INK, "line": {"color": INK, "width": 2}},
            hovertext=[f"{escape(one.name)}<br>{label} {with_interval(known, 'ms')}" for one, _, known in stated],
            hoverinfo="text",
            name=label,
        )
    everything = [sample for _, timing in shown for sample in timing.samples_ms]
    drawing.update_xaxes(title_text="latency of one request (ms)", **log_ticks([min(everything), max(everything)]))
    drawing.update_yaxes(autorange="reversed", ticks="")
    drawing.update_layout(legend={"y": 1.0, "yanchor": "bottom"}, margin={"t": 36}, boxgap=0.35)
    return drawing


def _row_label(one: Measurement) -> str:
    """The contender's name in lines of about fourteen letters, so that it leaves room on a phone."""
    lines = wrap(one.name, 14) or [one.name]
    return "<br>".join(escape(line) for line in lines) + (" ★" if one.deployed else "")
