"""Students in training, and what distillation brought."""

from collections import Counter
from collections.abc import Sequence
from html import escape

from kd2deploy.report.formats import figure, metric_unit
from kd2deploy.report.measurement import Role
from kd2deploy.report.plots.dress import (
    FAINT,
    ROLE_COLOR,
    ROLE_SYMBOL,
    SEED_DASHES,
    Figure,
    blank,
    limit_line,
    metric_axis,
)
from kd2deploy.report.report import Report
from kd2deploy.report.training import Curve


def distillation(report: Report) -> Figure | None:
    """Control and student of each seed, joined by a line, under the teacher."""
    known = report.distillation
    runs = [one for one in known.seeds if one.control is not None and one.student is not None] if known else []
    if known is None or not runs:
        return None
    title, scale = metric_axis(report)
    unit, _, suffix = metric_unit(report.task)
    drawing = blank(320, legend_rows=1)
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
        limit_line(drawing, f"teacher {figure(known.teacher, unit, suffix=suffix)}", y=known.teacher * scale)
    drawing.update_xaxes(range=[-0.4, 1.4])
    drawing.update_yaxes(title_text=title)
    return drawing


def training_score(report: Report) -> Figure | None:
    """The validation score of every run over its epochs; colour is the role, dash the seed."""
    title, scale = metric_axis(report)
    runs = [curve for curve in report.curves if any(mark.score is not None for mark in curve.points)]
    if not runs:
        return None
    drawing = blank(320, legend_rows=(len(runs) + 1) // 2)
    for curve, dash in zip(runs, _dashes(runs), strict=True):
        marks = [(mark.epoch, mark.score * scale) for mark in curve.points if mark.score is not None]
        _run(drawing, curve, dash, marks)
    teacher = report.distillation.teacher if report.distillation else None
    if teacher is not None:
        limit_line(drawing, "teacher", y=teacher * scale)
    drawing.update_xaxes(title_text="epoch", rangemode="tozero")
    drawing.update_yaxes(title_text=title)
    return drawing


def training_losses(report: Report) -> dict[str, Figure]:
    """One figure per term of the loss, by name: terms have scales of their own."""
    names = dict.fromkeys(name for curve in report.curves for mark in curve.points for name in mark.losses)
    return {name: _loss(report, name) for name in names}


def _loss(report: Report, name: str) -> Figure:
    drawing = blank(220)
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
