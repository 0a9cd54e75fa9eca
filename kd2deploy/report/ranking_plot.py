"""The critical-difference plot: methods on an axis of mean ranks, bars over those that cannot be told apart.

Source: Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006, figure 1.
"""

from dataclasses import dataclass

from markupsafe import Markup

from kd2deploy.report.comparison_text import label
from kd2deploy.report.html import environment
from kd2deploy.report.ranking import Ranking
from kd2deploy.report.ranking_text import title

LEFT, RIGHT, TOP, ROW_PX, BAR_PX, BELOW = 190, 700, 64, 24, 9, 30
WIDTH = 860
CAPTION = (
    "Left is better. A bar joins methods whose mean ranks lie within the critical difference, which is drawn at the "
    "top: these cannot be told apart."
)


@dataclass(frozen=True)
class Mark:
    x: float
    y: float
    text: str
    rank: str
    tone: str


@dataclass(frozen=True)
class Bar:
    x1: float
    x2: float
    y: float


@dataclass(frozen=True)
class RankPlot:
    height: float
    marks: tuple[Mark, ...]
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, int], ...]
    difference: Bar | None
    difference_text: str
    width: int = WIDTH
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP


def render_ranks(found: Ranking) -> Markup:
    """The plot as SVG text, with colours for light and dark."""
    template = environment().get_template("ranking.svg.jinja")
    return Markup(template.render(plot=laid_out(found), title=title(found)))


def laid_out(found: Ranking) -> RankPlot:
    most = len(found.methods)

    def at(rank: float) -> float:
        return round(LEFT + (rank - 1) / max(1, most - 1) * (RIGHT - LEFT), 1)

    marks = tuple(
        Mark(at(one.mean_rank), TOP + ROW_PX * (place + 1), label(one), f"{one.mean_rank:.1f}", one.role)
        for place, one in enumerate(found.methods)
    )
    below = TOP + ROW_PX * (most + 1)
    bars = tuple(
        Bar(marks[group[0]].x - 3, marks[group[-1]].x + 3, below + BAR_PX * (place + 0.5))
        for place, group in enumerate(found.alike)
    )
    difference = found.critical_difference
    return RankPlot(
        height=below + BAR_PX * len(bars) + BELOW,
        marks=marks,
        bars=bars,
        ticks=tuple((at(rank), rank) for rank in range(1, most + 1)),
        difference=Bar(LEFT, min(at(1 + difference), RIGHT + 60), TOP - 36) if difference else None,
        difference_text=f"critical difference {difference:.1f}" if difference else "",
    )
