"""How every figure is dressed. Colours are CSS variables, which the page resolves for light, dark and print."""

from collections.abc import Sequence
from html import escape
from math import floor, log10
from typing import Any

import plotly.graph_objects as go

from kd2deploy.core.estimate import Estimate
from kd2deploy.report.formats import metric_unit
from kd2deploy.report.measurement import Role
from kd2deploy.report.report import Report

Figure = Any
"""`plotly.graph_objects.Figure`, which ships no types."""

INK, GRID, FAINT = "var(--ink)", "var(--grid)", "var(--faint)"
ROLE_COLOR: dict[Role, str] = {
    "teacher": "var(--teacher)",
    "teacher_same_runtime": "var(--teacher-same-runtime)",
    "teacher_best_file": "var(--teacher-same-runtime)",
    "baseline": "var(--teacher)",
    "baseline_same_runtime": "var(--teacher-same-runtime)",
    "baseline_best_file": "var(--teacher-same-runtime)",
    "control": "var(--control)",
    "student": "var(--student)",
    "variant": "var(--variant)",
    "link": "var(--variant)",
    "network": "var(--teacher)",
    "bundle": "var(--student)",
    "exported": "var(--variant)",
}
ROLE_SYMBOL: dict[Role, str] = {
    "teacher": "square",
    "teacher_same_runtime": "diamond",
    "teacher_best_file": "star-diamond",
    "baseline": "square-open",
    "baseline_same_runtime": "diamond-open",
    "baseline_best_file": "star-diamond-open",
    "control": "x",
    "student": "circle",
    "variant": "triangle-up",
    "link": "line-ns",
    "network": "square",
    "bundle": "circle",
    "exported": "triangle-up",
}
SEED_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
LONG_AXIS = 2.5
"""Powers of ten beyond which only they are labelled, so that labels have room on a phone. Ours."""
LINE_PX = 17
"""Height of a legend's row."""


def blank(height: int, legend_rows: int = 0) -> Figure:
    """An empty figure in the page's own dress; `legend_rows` below the axes do not shrink the drawing."""
    axis = {
        "gridcolor": GRID,
        "linecolor": FAINT,
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "tickcolor": FAINT,
        "title": {"standoff": 8, "font": {"size": 13}},
    }
    return go.Figure(
        layout={
            "template": "none",
            "height": height + LINE_PX * legend_rows,
            "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
            "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": FAINT, "font": {"color": INK}},
            "xaxis": axis,
            "yaxis": axis,
            "dragmode": False,
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.2, "yanchor": "top", "yref": "paper"},
        }
    )


def arms(estimates: Sequence[Estimate | None], scale: float = 1.0) -> dict[str, Any]:
    """Error bars from intervals; an end that is not known has no arm."""

    def arm(value: float | None, end: float | None) -> float:
        return 0.0 if value is None or end is None else abs(end - value) * scale

    return {
        "type": "data",
        "symmetric": False,
        "array": [arm(known.value, known.high) if known else 0.0 for known in estimates],
        "arrayminus": [arm(known.value, known.low) if known else 0.0 for known in estimates],
        "thickness": 1.5,
        "width": 4,
    }


def metric_axis(report: Report) -> tuple[str, float]:
    """The title of an axis that shows the headline metric, and what its values are multiplied by."""
    unit, _, suffix = metric_unit(report.task)
    name = escape(report.task.metric) if report.task else "metric"
    shown = "%" if unit == "share" else escape(suffix)
    return (f"{name} ({shown})" if shown else name), 100.0 if unit == "share" else 1.0


def limit_line(drawing: Figure, text: str, **where: float) -> None:
    """A dashed line with its meaning written on it, across (`y`) or upright (`x`)."""
    line = {"color": FAINT, "dash": "dash", "width": 1.5}
    note = {"text": text, "showarrow": False, "font": {"size": 11, "color": "var(--soft)"}, "bgcolor": "var(--card)"}
    if "y" in where:
        drawing.add_shape(type="line", xref="paper", x0=0, x1=1, y0=where["y"], y1=where["y"], line=line, layer="below")
        drawing.add_annotation(xref="paper", x=0.995, y=where["y"], xanchor="right", yanchor="top", **note)
    else:
        drawing.add_shape(type="line", yref="paper", y0=0, y1=1, x0=where["x"], x1=where["x"], line=line, layer="below")
        place = where.get("place", where["x"])
        drawing.add_annotation(yref="paper", y=1, x=place, xanchor="right", yanchor="bottom", **note)


def gate_limit(report: Report, name: str) -> float | None:
    gates = report.verdict.gates if report.verdict else ()
    return next((gate.limit for gate in gates if gate.name == name), None)


def log_ticks(values: Sequence[float | None]) -> dict[str, Any]:
    """A logarithmic axis with room on both sides; ticks at 1, 2 and 5 times the powers of ten, or at these alone where
    the axis is long."""
    known = [value for value in values if value and value > 0]
    if not known:
        return {"type": "linear"}
    low, high = log10(min(known)) - 0.15, log10(max(known)) + 0.15
    digits = (1, 2, 5) if high - low < LONG_AXIS else (1,)
    ticks = [digit * 10.0**power for power in range(floor(low), floor(high) + 1) for digit in digits]
    return {"type": "log", "range": [low, high], "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
