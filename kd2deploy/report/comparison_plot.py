"""The comparison's one plot: each method's mean with its interval and its seeds, as an SVG that stands by itself."""

import math
from dataclasses import dataclass

from markupsafe import Markup

from kd2deploy.core.figures import bare, count_of
from kd2deploy.report.comparison import Comparison, Standing
from kd2deploy.report.comparison_text import against_control, label
from kd2deploy.report.formats import metric_unit, with_interval
from kd2deploy.report.html import environment

LEFT, RIGHT, TOP, ROW_PX, BELOW = 190, 700, 44, 26, 44
WIDTH = 860
TICKS = 6
ROOM = 0.08
"""Share of the seeds' range that is left free on either side."""
CAPTION = (
    "Rings are single trainings, one per seed; the filled mark is their mean with its 95 % interval, cut at the "
    "border. A green dot is better than no teacher, a red cross worse, grey cannot be told; the diamond is no teacher."
)


@dataclass(frozen=True)
class Tick:
    x: float
    text: str


@dataclass(frozen=True)
class Line:
    x: float
    y: float
    text: str
    tone: str


@dataclass(frozen=True)
class Row:
    y: float
    name: str
    x: float
    low: float | None
    high: float | None
    seeds: tuple[float, ...]
    tone: str
    strong: bool
    note: str
    about: str


@dataclass(frozen=True)
class Plot:
    height: float
    bottom: float
    rows: tuple[Row, ...]
    lines: tuple[Line, ...]
    ticks: tuple[Tick, ...]
    width: int = WIDTH
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high`."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """In pixels; what lies outside is drawn at the border."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(LEFT + share * (RIGHT - LEFT), 1)

    def ticks(self) -> list[float]:
        """Multiples of 1, 2 or 5 times a power of ten."""
        raw = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(size * power for size in (1, 2, 5, 10) if size * power >= raw)
        first = math.ceil(self.low / step)
        return [place * step for place in range(first, math.floor(self.high / step) + 1)]


def render_svg(found: Comparison) -> Markup:
    """The plot as SVG text, with colours for light and dark."""
    unit, _, suffix = metric_unit(found.task)
    shown = "%" if unit == "share" else suffix
    return Markup(
        environment()
        .get_template("comparison.svg.jinja")
        .render(
            plot=laid_out(found),
            title=title(found),
            axis=f"{found.task.metric} on the evaluation set{f' ({shown})' if shown else ''}",
        )
    )


def title(found: Comparison) -> str:
    return f"{found.task.metric} of every method over {count_of(len(found.seeds), 'seed')}, with 95 % intervals"


def laid_out(found: Comparison) -> Plot:
    axis = spanned(found)
    unit, _, _ = metric_unit(found.task)
    bottom = TOP + ROW_PX * len(found.standings)
    marks = axis.ticks()
    places = (
        max(0, -math.floor(math.log10((marks[1] - marks[0]) * (100 if unit == "share" else 1)))) if marks[1:] else 1
    )
    control, baseline = found.by_role("control").mean.value, found.by_role("baseline").mean.value
    assert control is not None
    assert baseline is not None
    lines = (
        Line(axis.at(control), TOP - 8, "no teacher", "control"),
        Line(axis.at(baseline), TOP - 22, found.by_role("baseline").method, "untold"),
        Line(axis.at(found.teacher), TOP - 8, "teacher", "teacher"),
    )
    return Plot(
        height=bottom + BELOW,
        bottom=bottom,
        rows=tuple(drawn(one, place, axis, found) for place, one in enumerate(found.standings)),
        lines=lines,
        ticks=tuple(Tick(axis.at(mark), bare(mark, unit, places)) for mark in marks),
    )


def spanned(found: Comparison) -> Axis:
    """Every single training and the teacher, with some room."""
    values = [run.score for one in found.standings for run in one.runs] + [found.teacher]
    room = ROOM * (max(values) - min(values)) or 0.01
    return Axis(min(values) - room, max(values) + room)


def drawn(one: Standing, place: int, axis: Axis, found: Comparison) -> Row:
    mean = one.mean
    assert mean.value is not None
    unit, _, suffix = metric_unit(found.task)
    word = one.against_control.word if one.against_control else ""
    ends = mean.low is not None and mean.high is not None
    return Row(
        y=TOP + ROW_PX * (place + 0.5),
        name=label(one),
        x=axis.at(mean.value),
        low=axis.at(mean.low) if ends and mean.low is not None else None,
        high=axis.at(mean.high) if ends and mean.high is not None else None,
        seeds=tuple(axis.at(run.score) for run in one.runs),
        tone="control" if one.role == "control" else {"better": "better", "worse": "worse"}.get(word, "untold"),
        strong=one.role != "method",
        note="worse than no teacher" if word == "worse" else bare(mean.value, unit),
        about=f"{label(one)}: {with_interval(mean, unit, suffix=suffix)} {against_control(one)}".rstrip(),
    )
