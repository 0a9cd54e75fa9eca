"""The report's figures. Colours are CSS variables (`var(--student)`); the page resolves them for light, dark and print.

Each function gives None where the run has nothing to draw. Text is escaped, since plotly reads a little HTML.
"""

from collections import Counter
from collections.abc import Sequence
from html import escape
from itertools import cycle
from math import floor, log10
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from kd2deploy.core.estimate import Estimate
from kd2deploy.report.formats import figure, metric_unit, ms, parameters, point, with_interval
from kd2deploy.report.measurement import Measurement, Role
from kd2deploy.report.report import Report
from kd2deploy.report.training import Candidate, Curve

Figure = Any
"""`plotly.graph_objects.Figure`, which ships no types."""

INK, GRID, FAINT = "var(--ink)", "var(--grid)", "var(--faint)"
ROLE_COLOR: dict[Role, str] = {
    "teacher": "var(--teacher)",
    "teacher_same_runtime": "var(--teacher-same-runtime)",
    "baseline": "var(--teacher)",
    "baseline_same_runtime": "var(--teacher-same-runtime)",
    "control": "var(--control)",
    "student": "var(--student)",
    "variant": "var(--variant)",
    "link": "var(--variant)",
}
ROLE_SYMBOL: dict[Role, str] = {
    "teacher": "square",
    "teacher_same_runtime": "diamond",
    "baseline": "square-open",
    "baseline_same_runtime": "diamond-open",
    "control": "x",
    "student": "circle",
    "variant": "triangle-up",
    "link": "line-ns",
}
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
VERDICT_COLOR = {"chosen": "var(--student)", "kept": "var(--teacher-same-runtime)", "rejected": "var(--fail)"}
VERDICT_SYMBOL = {"chosen": "star", "kept": "circle", "rejected": "x"}
SEED_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
LINE_PX = 17
"""Height of a legend's row."""


def _blank(height: int, legend_rows: int = 0) -> Figure:
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


def _arms(estimates: Sequence[Estimate | None], scale: float = 1.0) -> dict[str, Any]:
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


def _metric(report: Report) -> tuple[str, float]:
    """The title of an axis that shows the headline metric, and what its values are multiplied by."""
    unit, _, suffix = metric_unit(report.task)
    name = escape(report.task.metric) if report.task else "metric"
    shown = "%" if unit == "share" else escape(suffix)
    return (f"{name} ({shown})" if shown else name), 100.0 if unit == "share" else 1.0


def _limit(drawing: Figure, text: str, **where: float) -> None:
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


def _gate_limit(report: Report, name: str) -> float | None:
    gates = report.verdict.gates if report.verdict else ()
    return next((gate.limit for gate in gates if gate.name == name), None)


def accuracy_latency(report: Report) -> Figure | None:
    """Metric against median latency (log), both with 95 % intervals; the gates as dashed lines."""
    shown = [
        (one, one.metric, one.timing.median)
        for one in report.contenders
        if one.metric and one.timing and one.metric.value is not None and one.timing.median.value is not None
    ]
    if not shown:
        return None
    title, scale = _metric(report)
    unit, _, suffix = metric_unit(report.task)
    drawing = _blank(380, legend_rows=len(shown))
    drawing.update_layout(margin={"t": 26})
    symbols = _symbols([one for one, *_ in shown])
    for (one, metric, median), symbol in zip(shown, symbols, strict=True):
        assert metric.value is not None
        assert median.value is not None
        color = ROLE_COLOR[one.role]
        drawing.add_scatter(
            x=[median.value],
            y=[metric.value * scale],
            error_x=_arms([median]) | {"color": color},
            error_y=_arms([metric], scale) | {"color": color},
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
    drawing.update_xaxes(
        title_text="median latency (ms): further left is faster", **_log_ticks([median.value for *_, median in shown])
    )
    drawing.update_yaxes(title_text=title)
    return drawing


def _symbols(shown: Sequence[Measurement]) -> list[str]:
    """A shape for each: its role's, and for the variants one after the other."""
    variants = cycle(VARIANT_SYMBOLS)
    return [next(variants) if one.role == "variant" else ROLE_SYMBOL[one.role] for one in shown]


def _accuracy_speed_limits(drawing: Figure, report: Report, scale: float) -> None:
    """The gates as lines: the lowest metric and the slowest median that may pass."""
    teacher = report.first("teacher") or report.first("teacher_same_runtime")
    drop, speed = _gate_limit(report, "max_drop"), _gate_limit(report, "min_speedup")
    if teacher and teacher.metric and teacher.metric.value is not None and drop is not None:
        _limit(drawing, "lowest metric allowed", y=(teacher.metric.value - drop) * scale)
    judged = next((one for one in report.speedups if one.gates), None)
    before = next((one for one in report.contenders if judged and one.name == judged.against), None)
    median = before.timing.median.value if before and before.timing else None
    if median and speed:
        _limit(drawing, "slowest allowed", x=median / speed, place=log10(median / speed))


def _log_ticks(values: Sequence[float | None]) -> dict[str, Any]:
    """A logarithmic axis with ticks at 1, 2 and 5 times the powers of ten, and room on both sides."""
    known = [value for value in values if value and value > 0]
    if not known:
        return {"type": "linear"}
    low, high = log10(min(known)) - 0.15, log10(max(known)) + 0.15
    ticks = [digit * 10.0**power for power in range(floor(low), floor(high) + 1) for digit in (1, 2, 5)]
    return {"type": "log", "range": [low, high], "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def latency(report: Report) -> Figure | None:
    """Each contender's latency samples on a logarithmic axis: quartile box, points, and the stated percentiles."""
    shown = [(one, one.timing) for one in report.contenders if one.timing and one.timing.samples_ms]
    if not shown:
        return None
    drawing = _blank(90 + 62 * len(shown))
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
    drawing.update_xaxes(title_text="latency of one request (ms)", **_log_ticks([min(everything), max(everything)]))
    drawing.update_yaxes(autorange="reversed", ticks="")
    drawing.update_layout(legend={"y": 1.0, "yanchor": "bottom"}, margin={"t": 36}, boxgap=0.35)
    return drawing


def _row_label(one: Measurement) -> str:
    """The contender's name in lines of about fourteen letters, so that it leaves room on a phone."""
    lines = wrap(one.name, 14) or [one.name]
    return "<br>".join(escape(line) for line in lines) + (" ★" if one.deployed else "")


def drop_chain(report: Report) -> Figure | None:
    """The headline metric at every step from the teacher to the deployed artifact, with 95 % intervals."""
    links = [link for link in report.drop_chain if link.metric and link.metric.value is not None]
    if len(links) < 2:
        return None
    title, scale = _metric(report)
    unit, delta, suffix = metric_unit(report.task)
    metrics = [link.metric for link in links]
    steps = [f"{place}.<br>" + "<br>".join(map(escape, wrap(link.step, 9))) for place, link in enumerate(links, 1)]
    drawing = _blank(320)
    drawing.add_scatter(
        x=steps,
        y=[metric.value * scale for metric in metrics if metric and metric.value is not None],
        error_y=_arms(metrics, scale) | {"color": ROLE_COLOR["student"]},
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


def distillation(report: Report) -> Figure | None:
    """Control and student of each seed, joined by a line, under the teacher."""
    known = report.distillation
    runs = [one for one in known.seeds if one.control is not None and one.student is not None] if known else []
    if known is None or not runs:
        return None
    title, scale = _metric(report)
    unit, _, suffix = metric_unit(report.task)
    drawing = _blank(320, legend_rows=1)
    for place, run in enumerate(runs):
        values = [run.control or 0.0, run.student or 0.0]
        drawing.add_scatter(
            x=["control<br>(no teacher)", "student<br>(distilled)"],
            y=[value * scale for value in values],
            mode="lines+markers",
            line={"color": FAINT, "dash": SEED_DASHES[place % len(SEED_DASHES)], "width": 2},
            marker={"color": [ROLE_COLOR["control"], ROLE_COLOR["student"]], "symbol": ["x", "circle"], "size": 11},
            name=f"seed {run.seed}",
            hovertext=[f"seed {run.seed}<br>{figure(value, unit, suffix=suffix)}" for value in values],
            hoverinfo="text",
        )
    if known.teacher is not None:
        _limit(drawing, f"teacher {figure(known.teacher, unit, suffix=suffix)}", y=known.teacher * scale)
    drawing.update_xaxes(range=[-0.4, 1.4])
    drawing.update_yaxes(title_text=title)
    return drawing


def training_score(report: Report) -> Figure | None:
    """The validation score of every run over its epochs; colour is the role, dash the seed."""
    title, scale = _metric(report)
    runs = [curve for curve in report.curves if any(mark.score is not None for mark in curve.points)]
    if not runs:
        return None
    drawing = _blank(320, legend_rows=(len(runs) + 1) // 2)
    for curve, dash in zip(runs, _dashes(runs), strict=True):
        marks = [(mark.epoch, mark.score * scale) for mark in curve.points if mark.score is not None]
        _run(drawing, curve, dash, marks)
    teacher = report.distillation.teacher if report.distillation else None
    if teacher is not None:
        _limit(drawing, "teacher", y=teacher * scale)
    drawing.update_xaxes(title_text="epoch", rangemode="tozero")
    drawing.update_yaxes(title_text=title)
    return drawing


def training_losses(report: Report) -> dict[str, Figure]:
    """One figure per term of the loss, by name: terms have scales of their own."""
    names = dict.fromkeys(name for curve in report.curves for mark in curve.points for name in mark.losses)
    return {name: _loss(report, name) for name in names}


def _loss(report: Report, name: str) -> Figure:
    drawing = _blank(220)
    for curve, dash in zip(report.curves, _dashes(report.curves), strict=True):
        marks = [(mark.epoch, mark.losses[name]) for mark in curve.points if name in mark.losses]
        if marks:
            _run(drawing, curve, dash, marks)
    drawing.update_xaxes(title_text="epoch", rangemode="tozero")
    drawing.update_yaxes(title_text=escape(name))
    drawing.update_layout(showlegend=False)
    return drawing


def _run(drawing: Figure, curve: Curve, dash: str, marks: Sequence[tuple[float, float]]) -> None:
    drawing.add_scatter(
        x=[epoch for epoch, _ in marks],
        y=[value for _, value in marks],
        mode="lines+markers",
        line={"color": ROLE_COLOR[curve.role], "width": 2, "dash": dash},
        marker={"symbol": ROLE_SYMBOL[curve.role], "size": 6},
        name=escape(curve.run),
        hovertext=[f"{escape(curve.run)}<br>epoch {epoch:g}: {value:.4g}" for epoch, value in marks],
        hoverinfo="text",
    )


def _dashes(runs: Sequence[Curve]) -> list[str]:
    """A dash for each run, so that runs of one role can be told apart without colour."""
    seen: Counter[Role] = Counter()
    dashes = []
    for run in runs:
        dashes.append(SEED_DASHES[seen[run.role] % len(SEED_DASHES)])
        seen[run.role] += 1
    return dashes


def candidates(report: Report) -> Figure | None:
    """Latency of every untrained candidate against its parameters; the gate's limit as a dashed line."""
    shown = [
        (one, one.latency, one.parameters)
        for one in report.candidates
        if one.latency and one.latency.value is not None and one.parameters
    ]
    if not shown:
        return None
    drawing = _blank(320, legend_rows=1)
    for verdict, symbol in VERDICT_SYMBOL.items():
        group = [(one, time, weights) for one, time, weights in shown if one.verdict == verdict]
        if not group:
            continue
        color = VERDICT_COLOR[verdict]
        drawing.add_scatter(
            x=[weights / 1e6 for *_, weights in group],
            y=[time.value for _, time, _ in group],
            error_y=_arms([time for _, time, _ in group]) | {"color": color},
            mode="markers",
            marker={"symbol": symbol, "size": 15 if verdict == "chosen" else 10, "color": color},
            name=verdict,
            hovertext=[_candidate(one) for one, *_ in group],
            hoverinfo="text",
        )
    drawing.update_xaxes(title_text="parameters (millions)", rangemode="tozero")
    drawing.update_yaxes(title_text="latency, untrained (ms)", rangemode="tozero")
    limit = _slowest_candidate(shown, _gate_limit(report, "min_speedup"))
    if limit is not None:
        _limit(drawing, f"speed gate: {ms(limit)}", y=limit)
    return drawing


def _slowest_candidate(shown: Sequence[tuple[Candidate, Estimate, int]], gate: float | None) -> float | None:
    """The latency at which the predicted speed-up equals the gate; the baseline is latency times speed-up."""
    for one, time, _ in shown:
        if gate and time.value is not None and one.speedup and one.speedup.value is not None:
            return time.value * one.speedup.value / gate
    return None


def _candidate(one: Candidate) -> str:
    return (
        f"<b>{escape(one.name)}</b> ({one.verdict})<br>{parameters(one.parameters)} parameters"
        f"<br>{with_interval(one.latency, 'ms')}<br>speed-up {point(one.speedup, 'ratio')}"
        + "".join(f"<br>{escape(line)}" for line in wrap(one.reason, 44))
    )
