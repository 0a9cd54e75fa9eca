"""A search as parallel coordinates: an upright axis for everything that was tried, a line for every trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import log
from typing import Any

from kd2deploy.report.formats import figure, metric_unit
from kd2deploy.report.plots.dress import FAINT, INK, Figure, blank
from kd2deploy.report.tuning import Search, Trial, Tuning

FAINTEST = 0.15
"""How much is seen of the worst trial's line."""


@dataclass(frozen=True)
class Axis:
    """Where values stand, from 0 at the bottom to 1 at the top, and what is written beside it."""

    name: str
    places: Mapping[int, float]
    """By the trial's number; those without a value are missing."""
    marks: tuple[tuple[float, str], ...]


def coordinates(found: Tuning, search: Search) -> Figure:
    """Every trial that has a score, from its first value to its score; the winner is drawn last and in colour."""
    trials = [one for one in search.trials if one.score is not None and one.outcome != "repeated"]
    axes = [axis(name, search.space.get(name), trials) for name in search.names]
    axes.append(scores(found, trials))
    drawing = blank(380, legend_rows=1)
    better = 1 if found.task.higher_is_better else -1
    order = sorted(trials, key=lambda one: (one.number == search.best, better * (one.score or 0.0)))
    for rank, one in enumerate(order):
        best = one.number == search.best
        places = [(at, axis.places[one.number]) for at, axis in enumerate(axes) if one.number in axis.places]
        drawing.add_scatter(
            x=[at for at, _ in places],
            y=[place for _, place in places],
            mode="lines+markers",
            opacity=1.0 if best else FAINTEST + (1 - FAINTEST) * rank / len(order),
            line={
                "color": "var(--student)" if best else "var(--soft)" if one.outcome == "pruned" else INK,
                "dash": "dot" if one.outcome == "pruned" else "solid",
                "width": 3 if best else 1.5,
            },
            marker={"size": 7 if best else 4},
            name="the winner" if best else f"trial {one.number}",
            showlegend=best,
            hovertext=[told(found, one)] * len(places),
            hoverinfo="text",
        )
    for at, axis_ in enumerate(axes):
        drawing.add_shape(type="line", x0=at, x1=at, y0=0, y1=1, line={"color": FAINT, "width": 1}, layer="below")
        for place, text in axis_.marks:
            drawing.add_annotation(
                x=at,
                y=place,
                text=escape(text),
                showarrow=False,
                xanchor="left" if at < len(axes) - 1 else "right",
                xshift=4 if at < len(axes) - 1 else -4,
                font={"size": 10, "color": "var(--soft)"},
                bgcolor="var(--card)",
            )
    ticks = [escape(one.name).replace(".", ".<br>").replace("_", "_<br>") for one in axes]
    drawing.update_xaxes(tickvals=list(range(len(axes))), ticktext=ticks, range=[-0.2, len(axes) - 0.8], showgrid=False)
    drawing.update_yaxes(visible=False, range=[-0.06, 1.06])
    return drawing


def axis(name: str, space: Mapping[str, Any] | None, trials: Sequence[Trial]) -> Axis:
    """A thing's axis: choices at equal distances, numbers over their range, as evenly as they are searched."""
    values = {one.number: one.params[name] for one in trials if name in one.params}
    if space is None or "one of" in space:
        choices = list(dict.fromkeys(space["one of"] if space else (str(value) for value in values.values())))
        step = 1 / max(1, len(choices) - 1)
        known = {choice: at * step for at, choice in enumerate(choices)}
        marks = tuple((place, choice) for choice, place in known.items())
        return Axis(name, {number: known[str(value)] for number, value in values.items()}, marks)
    low, high = float(space["low"]), float(space["high"])
    numbers = {number: float(value) for number, value in values.items() if isinstance(value, int | float)}
    if space["log"]:
        placed = {number: log(value / low) / log(high / low) for number, value in numbers.items()}
    else:
        placed = {number: (value - low) / (high - low) for number, value in numbers.items()}
    return Axis(name, placed, ((0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")))


def scores(found: Tuning, trials: Sequence[Trial]) -> Axis:
    """The last axis: better is higher."""
    unit, _, suffix = metric_unit(found.task)
    known = {one.number: one.score for one in trials if one.score is not None}
    low, high = min(known.values()), max(known.values())
    if not found.task.higher_is_better:
        low, high = high, low
    room = (high - low) or 1.0
    marks = {0.0: low, 1.0: high} if high != low else {0.0: low}
    return Axis(
        found.task.metric,
        {number: (value - low) / room for number, value in known.items()},
        tuple((place, figure(value, unit, suffix=suffix)) for place, value in marks.items()),
    )


def told(found: Tuning, one: Trial) -> str:
    """What is shown of a trial's line under the pointer."""
    unit, _, suffix = metric_unit(found.task)
    score = figure(one.score, unit, suffix=suffix)
    ended = "" if one.outcome == "finished" else f", ended at {one.share:.0%}"
    values = (
        f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}" for name, value in one.params.items()
    )
    return "<br>".join((f"trial {one.number}: {score}{ended}", *map(escape, values)))
