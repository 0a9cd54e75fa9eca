"""How much faster, in all and by the length of the request."""

from kd2deploy.core.estimate import Estimate
from kd2deploy.core.figures import bare
from kd2deploy.report.formats import MISSING, count, interval_or_why, ms, times
from kd2deploy.report.origin import TaskInfo
from kd2deploy.report.report import Report
from kd2deploy.report.tables.table import Cell, Table, told, used


def speedups(report: Report) -> Table | None:
    if not report.speedups:
        return None
    who = report.compared_with
    words = {
        "eager": f"{who} in eager PyTorch (the setting before)",
        "same_runtime": f"{who} in the same runtime and precision",
        "best_file": f"{who} as its own fastest file",
        "first": "the first that was named",
    }
    table = Table(
        caption="How much faster, by median latency",
        head=("Baseline", "Divided by", "Ratio", "95 % interval", "End to end", "Beside a neighbour", "Judged"),
        rows=tuple(
            (
                Cell(words[one.baseline]),
                Cell(one.against),
                Cell(times(one.ratio)),
                Cell(interval_or_why(one.ratio, "ratio") or MISSING),
                told(one.end_to_end, "ratio"),
                told(one.crowded, "ratio") if one.crowded is not None else Cell(""),
                Cell("by min_speedup" if one.gates else "shown only"),
            )
            for one in report.speedups
        ),
        numbers=frozenset({2, 3, 4, 5}),
    )
    return used(table)


def medians_by_length(report: Report) -> Table | None:
    """Each contender's median for short, middling and long requests apart."""
    timed = [(one, one.timing.by_length) for one in report.contenders if one.timing and one.timing.by_length]
    if not timed:
        return None
    return Table(
        caption=f"Median latency by the size of a row in {counted_in(report)}, with 95 % intervals",
        head=("Contender", *(sizes(one.smallest, one.largest, report.task) for one in timed[0][1])),
        rows=tuple(
            (Cell(one.name, tone=one.role), *(told(length.median, "ms") for length in lengths))
            for one, lengths in timed
        ),
        numbers=frozenset(range(1, 1 + len(timed[0][1]))),
        strong=frozenset(place for place, (one, _) in enumerate(timed) if one.deployed),
    )


def per_unit(report: Report) -> Table | None:
    """Each contender's median for one unit of size; as a real-time factor too, where that unit is a stretch of time."""
    timed = [(one, one.timing.per_unit) for one in report.contenders if one.timing and one.timing.per_unit]
    if not timed or report.task is None:
        return None
    unit, lasts_ms = report.task.unit_of_size, report.task.unit_lasts_ms
    factors = [(told(of_time(median, lasts_ms), "number"),) if lasts_ms else () for _, median in timed]
    explained = "; a real-time factor is seconds of computing per second" if lasts_ms else ""
    return Table(
        caption=f"Median latency per {unit}{explained}",
        head=("Contender", f"ms per {unit}", *(["Real-time factor"] if lasts_ms else [])),
        rows=tuple(
            (Cell(one.name, tone=one.role), told(median, "ms"), *factor)
            for (one, median), factor in zip(timed, factors, strict=True)
        ),
        numbers=frozenset({1, 2} if lasts_ms else {1}),
        strong=frozenset(place for place, (one, _) in enumerate(timed) if one.deployed),
    )


def of_time(median: Estimate, lasts_ms: float) -> Estimate:
    """A latency in ms over the time that its input lasts."""
    ends = (median.value, median.low, median.high)
    value, low, high = (None if end is None else end / lasts_ms for end in ends)
    return Estimate(value, low, high, median.note)


def counted_in(report: Report) -> str:
    return report.task.counted_in if report.task else "elements"


def sizes(smallest: int, largest: int, task: TaskInfo | None) -> str:
    """`9 to 24` tokens, or `0.552 to 1.92` seconds."""
    each = task.unit_elements if task else 0.0
    return " to ".join(bare(size / each, "ms") if each else count(size) for size in (smallest, largest))


def lengths(report: Report) -> Table | None:
    """The speedup for short, middling and long requests apart."""
    rows = tuple(
        (
            Cell(f"{report.compared_with}, {one.baseline.replace('_', ' ')}"),
            Cell(sizes(group.smallest, group.largest, report.task)),
            Cell(count(group.requests)),
            Cell(ms(group.slow_ms)),
            Cell(ms(group.fast_ms)),
            told(group.ratio, "ratio"),
        )
        for one in report.speedups
        for group in one.by_length
    )
    if not rows:
        return None
    return Table(
        caption="How much faster by the length of the request: no limit is judged by it",
        head=(
            "Baseline",
            f"{counted_in(report).capitalize()} of a row",
            "Requests",
            report.compared_with.capitalize(),
            "Deployed",
            "Ratio",
        ),
        rows=rows,
        numbers=frozenset({2, 3, 4, 5}),
    )
