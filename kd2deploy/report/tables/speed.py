"""How much faster, in all and by the length of the request."""

from kd2deploy.report.formats import (
    MISSING,
    count,
    interval_or_why,
    ms,
    times,
)
from kd2deploy.report.report import Report
from kd2deploy.report.tables.table import Cell, Table, told, used


def speedups(report: Report) -> Table | None:
    if not report.speedups:
        return None
    who = report.compared_with
    words = {
        "eager": f"{who} in eager PyTorch (the setting before)",
        "same_runtime": f"{who} in the same runtime and precision",
        "first": "the first that was named",
    }
    table = Table(
        caption="How much faster, by median latency",
        head=("Baseline", "Divided by", "Ratio", "95 % interval", "End to end", "Judged"),
        rows=tuple(
            (
                Cell(words[one.baseline]),
                Cell(one.against),
                Cell(times(one.ratio)),
                Cell(interval_or_why(one.ratio, "ratio") or MISSING),
                told(one.end_to_end, "ratio"),
                Cell("by min_speedup" if one.gates else "shown only"),
            )
            for one in report.speedups
        ),
        numbers=frozenset({2, 3, 4}),
    )
    return used(table)


def medians_by_length(report: Report) -> Table | None:
    """Each contender's median for short, middling and long requests apart."""
    timed = [(one, one.timing.by_length) for one in report.contenders if one.timing and one.timing.by_length]
    if not timed:
        return None
    return Table(
        caption=f"Median latency by the size of a row in {counted_in(report)}, with 95 % intervals",
        head=("Contender", *(f"{count(one.smallest)} to {count(one.largest)}" for one in timed[0][1])),
        rows=tuple(
            (Cell(one.name, tone=one.role), *(told(length.median, "ms") for length in lengths))
            for one, lengths in timed
        ),
        numbers=frozenset(range(1, 1 + len(timed[0][1]))),
        strong=frozenset(place for place, (one, _) in enumerate(timed) if one.deployed),
    )


def per_unit(report: Report) -> Table | None:
    """Each contender's median for one unit of size."""
    timed = [(one, one.timing.per_unit) for one in report.contenders if one.timing and one.timing.per_unit]
    if not timed or report.task is None:
        return None
    unit = report.task.unit_of_size
    return Table(
        caption=f"Median latency per {unit} of input",
        head=("Contender", f"ms per {unit}"),
        rows=tuple((Cell(one.name, tone=one.role), told(median, "ms")) for one, median in timed),
        numbers=frozenset({1}),
        strong=frozenset(place for place, (one, _) in enumerate(timed) if one.deployed),
    )


def counted_in(report: Report) -> str:
    return report.task.counted_in if report.task else "elements"


def lengths(report: Report) -> Table | None:
    """The speedup for short, middling and long requests apart."""
    rows = tuple(
        (
            Cell(f"{report.compared_with}, {'eager' if one.baseline == 'eager' else 'same runtime'}"),
            Cell(f"{count(group.smallest)} to {count(group.largest)}"),
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
