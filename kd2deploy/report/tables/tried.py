"""All ways to deploy that were tried, and where each was dropped."""

from kd2deploy.core.figures import count_of
from kd2deploy.core.tried import Fate, Tried
from kd2deploy.report.formats import figure, metric_unit, ms
from kd2deploy.report.report import Report
from kd2deploy.report.tables.table import Cell, Table, told, used

FATES: dict[Fate, str] = {
    "deployed": "★ deployed",
    "raced": "○ raced to the end",
    "crowded_out": "○ near, but others looked faster",
    "slower": "✗ surely slower",
    "inaccurate": "✗ loses too much: not timed",
    "left_out": "✗ left out: see What to know",
}


def tried(report: Report) -> Table | None:
    if not report.tried:
        return None
    unit, _, suffix = metric_unit(report.task)
    metric = report.task.metric if report.task else "Metric"
    table = Table(
        caption="Every way to deploy that was tried: how far it came, by quick timings that no limit is judged by",
        head=(
            "Way",
            "How far it came",
            f"{metric}, validation",
            "Median",
            "Throughput",
            "Time over the fastest's",
            "Timed",
        ),
        rows=tuple(
            (
                Cell(one.name, under=one.precision),
                Cell(FATES[one.fate]),
                Cell(figure(one.score, unit, suffix=suffix) if one.score is not None else ""),
                Cell(ms(one.median_ms) if one.median_ms is not None else ""),
                Cell(figure(one.rows_per_s, "rate") if one.rows_per_s is not None else ""),
                told(one.ratio, "ratio") if one.ratio is not None else Cell(""),
                _timed(one),
            )
            for one in report.tried
        ),
        numbers=frozenset({2, 3, 4, 5}),
        strong=frozenset(place for place, one in enumerate(report.tried) if one.fate == "deployed"),
    )
    return used(table)


def _timed(one: Tried) -> Cell:
    if not one.rounds:
        return Cell("")
    return Cell(count_of(one.rounds, "round"), under=f"against {one.against}" if one.against else "")
