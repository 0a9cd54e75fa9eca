"""What a ranking says in words and tables, once for the page, for Markdown and for the terminal."""

from statistics import median

from kd2deploy.core.figures import count_of, percent
from kd2deploy.report.comparison_text import equal, label
from kd2deploy.report.formats import MISSING, figure, metric_unit, moment
from kd2deploy.report.ranking import Ranked, Ranking
from kd2deploy.report.tables.table import Cell, Table

ALPHA = 0.05


def title(found: Ranking) -> str:
    return f"Mean ranks of {count_of(len(found.methods), 'method')} over {count_of(len(found.data), 'data set')}"


def about(found: Ranking) -> str:
    """Budget, seeds and date in one line."""
    return " · ".join(
        (f"{equal(found.budget)} on each", f"seeds {', '.join(map(str, found.seeds))}", moment(found.finished))
    )


def conclusions(found: Ranking) -> list[str]:
    """What the ranks say."""
    if found.critical_difference is None or found.p_value is None:
        return ["Ranks are not tested: that takes two data sets and three methods at least."]
    first, sets = found.methods[0], count_of(len(found.data), "data set")
    said = [f"{label(first)} has the best mean rank, {first.mean_rank:.1f} of {len(found.methods)}."]
    if found.p_value > ALPHA:
        said.append(
            f"Over {sets} the ranks do not surely differ from chance (Friedman's test, p = {found.p_value:.2g})."
        )
        return said
    behind = [label(one) for one in found.methods if one.mean_rank - first.mean_rank > found.critical_difference]
    said.append(
        f"Over {sets} the ranks differ by more than chance (Friedman's test, p = {found.p_value:.2g}). Surely behind "
        f"{label(first)}, all pairs allowed for: {', '.join(behind) or 'none'}."
    )
    return said


def caveats(found: Ranking) -> list[str]:
    """What the ranks do not show."""
    lines = [
        "A rank says who is ahead and not by how much; the scores stand beside it. The test takes the data sets as "
        "drawn from all that could be used: with few of them it tells only large differences apart.",
        "On each data set a score is the mean over the seeds, with one teacher and one start of the student.",
    ]
    if found.left_out:
        lines.append(f"Not ranked, since they do not stand in every comparison: {', '.join(found.left_out)}.")
    return lines


def ranks(found: Ranking) -> Table:
    """One row per method, the best first; scores by data set."""
    units = [metric_unit(one.task) for one in found.data]
    return Table(
        caption=title(found),
        head=("Method", "Mean rank", *(one.name for one in found.data), "Gap closed, median", "Against no teacher"),
        rows=tuple(
            (
                Cell(label(one), tone="control" if one.role == "control" else ""),
                Cell(f"{one.mean_rank:.1f}"),
                *(
                    Cell(figure(score, unit, suffix=suffix))
                    for score, (unit, _, suffix) in zip(one.scores, units, strict=True)
                ),
                Cell(closed(one)),
                Cell("" if one.role == "control" else f"{one.better} better, {one.worse} worse"),
            )
            for one in found.methods
        ),
        numbers=frozenset(range(1, 3 + len(found.data))),
        strong=frozenset(place for place, one in enumerate(found.methods) if one.role != "method"),
    )


def closed(one: Ranked) -> str:
    """The median over the data sets on which there is a gap."""
    known = [share for share in one.gaps_closed if share is not None]
    return percent(median(known)) if known else "" if one.role == "control" else MISSING


def contested(found: Ranking) -> Table:
    """The data sets, with what there is to win on each."""
    rows = []
    for one in found.data:
        unit, _, suffix = metric_unit(one.task)
        rows.append(
            (
                Cell(one.name, under=one.about),
                Cell(f"{one.labelled:,}"),
                Cell(f"{one.unlabelled:,}"),
                Cell(one.task.metric),
                Cell(figure(one.teacher, unit, suffix=suffix)),
                Cell(one.page, code=True),
            )
        )
    return Table(
        caption="The data sets",
        head=("Data", "Labelled rows", "Unlabelled rows", "Metric", "Teacher", "Its own comparison"),
        rows=tuple(rows),
        numbers=frozenset({1, 2, 4}),
    )


def trained(found: Ranking) -> Table:
    return Table(
        caption="What was trained, on the first data set",
        head=("Method", "Trainings"),
        rows=tuple((Cell(label(one)), Cell("; then ".join(one.trainings))) for one in found.methods),
    )
