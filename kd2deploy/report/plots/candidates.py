"""The students that the plan timed untrained."""

from collections.abc import Sequence
from html import escape
from textwrap import wrap

from kd2deploy.core.estimate import Estimate
from kd2deploy.report.formats import ms, parameters, point, with_interval
from kd2deploy.report.plots.dress import Figure, arms, blank, gate_limit, limit_line
from kd2deploy.report.report import Report
from kd2deploy.report.training import Candidate

VERDICT_COLOR = {"chosen": "var(--student)", "kept": "var(--teacher-same-runtime)", "rejected": "var(--fail)"}
VERDICT_SYMBOL = {"chosen": "star", "kept": "circle", "rejected": "x"}


def candidates(report: Report) -> Figure | None:
    """Latency of every untrained candidate against its parameters; the gate's limit as a dashed line."""
    shown = [
        (one, one.latency, one.parameters)
        for one in report.candidates
        if one.latency and one.latency.value is not None and one.parameters
    ]
    if not shown:
        return None
    drawing = blank(320, legend_rows=1)
    for verdict, symbol in VERDICT_SYMBOL.items():
        group = [(one, time, weights) for one, time, weights in shown if one.verdict == verdict]
        if not group:
            continue
        color = VERDICT_COLOR[verdict]
        drawing.add_scatter(
            x=[weights / 1e6 for *_, weights in group],
            y=[time.value for _, time, _ in group],
            error_y=arms([time for _, time, _ in group]) | {"color": color},
            mode="markers",
            marker={"symbol": symbol, "size": 15 if verdict == "chosen" else 10, "color": color},
            name=verdict,
            hovertext=[_candidate(one) for one, *_ in group],
            hoverinfo="text",
        )
    drawing.update_xaxes(title_text="parameters (millions)", rangemode="tozero")
    drawing.update_yaxes(title_text="latency, untrained (ms)", rangemode="tozero")
    limit = _slowest_candidate(shown, gate_limit(report, "min_speedup"))
    if limit is not None:
        limit_line(drawing, f"speed gate: {ms(limit)}", y=limit)
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
