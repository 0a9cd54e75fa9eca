"""How much faster, in all and by the length of the request."""

from kd2deploy.report.formats import (
    MISSING,
    count,
    interval_or_why,
    ms,
    times,
)
from kd2deploy.report.report import Report
from kd2deploy.report.tables.table import Cell, Table, told


def speedups(report: Report) -> Table | None:
    if not report.speedups:
        return None
    who = report.compared_with
    words = {
        "eager": f"{who} in eager PyTorch (the setting before)",
        "same_runtime": f"{who} in the same runtime and precision",
        "first": "the first that was named",
    }
    return Table(
        caption="How much faster, by median latency",
        head=("Baseline", "Divided by", "Ratio", "95 % interval", "Judged"),
        rows=tuple(
            (
                Cell(words[one.baseline]),
                Cell(one.against),
                Cell(times(one.ratio)),
                Cell(interval_or_why(one.ratio, "ratio") or MISSING),
                Cell("by min_speedup" if one.gates else "shown only"),
            )
            for one in report.speedups
        ),
        numbers=frozenset({2, 3}),
    )


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
        head=("Baseline", "Elements of its inputs", "Requests", report.compared_with.capitalize(), "Deployed", "Ratio"),
        rows=rows,
        numbers=frozenset({2, 3, 4, 5}),
    )
