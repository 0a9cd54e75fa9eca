"""Every metric, and what happened to each class."""

from collections.abc import Mapping, Sequence

from kd2deploy.report.formats import (
    count,
    figure,
    metric_unit,
)
from kd2deploy.report.measurement import Measurement
from kd2deploy.report.report import Report
from kd2deploy.report.tables.table import Cell, Table, names_of, plain, told


def metrics(report: Report) -> Table | None:
    """Every metric of every artifact; the headline one is in `contenders`."""
    return _by_name("All metrics", [(one, one.metrics) for one in report.contenders if one.metrics])


def classes(report: Report) -> Table | None:
    """Recall per class, by contender: a mean may hide a class that was lost."""
    return _by_name("Recall per class", [(one, one.classes) for one in report.contenders if one.classes])


def by_class(report: Report) -> list[Table | None]:
    """Other figures of each class, by contender, a table each: a label that is always answered has a recall of one."""
    names = dict.fromkeys(name for one in report.contenders for name in one.by_class)
    return [
        _by_name(f"{name} per class", [(one, one.by_class[name]) for one in report.contenders if name in one.by_class])
        for name in names
    ]


def floors(report: Report) -> Table | None:
    """What is had without a network: a teacher that is not ahead of it has nothing to teach."""
    if not report.floors:
        return None
    unit, _, suffix = metric_unit(report.task)
    return Table(
        caption="Without any network, on the same evaluation rows: what teacher and student must beat",
        head=("Floor", report.task.metric if report.task else "Metric", "Fitted on labelled rows"),
        rows=tuple(
            (Cell(one.name), told(one.metric, unit, suffix), Cell(count(one.rows) if one.rows else "none"))
            for one in report.floors
        ),
        numbers=frozenset({1, 2}),
    )


def class_drops(report: Report) -> Table | None:
    """What each class loses from the teacher to the deployed file, the largest first."""
    if not report.class_drops:
        return None
    who = report.compared_with
    return Table(
        caption=f"What each class loses from the {who} to the deployed file, each with its own 95 % interval",
        head=("Class", "Rows", f"Recall: {who}", "Recall: deployed", "Drop"),
        rows=tuple(
            (
                Cell(one.label),
                Cell(count(one.rows)),
                Cell(figure(one.before, "share")),
                Cell(figure(one.after, "share")),
                told(one.drop, "points"),
            )
            for one in report.class_drops
        ),
        numbers=frozenset({1, 2, 3, 4}),
    )


def _by_name(caption: str, shown: Sequence[tuple[Measurement, Mapping[str, float]]]) -> Table | None:
    if not shown:
        return None
    return Table(
        caption=caption,
        head=("", *(one.name for one, _ in shown)),
        rows=tuple(
            (Cell(name), *(Cell(plain(values.get(name)), tone=one.role) for one, values in shown))
            for name in names_of(values for _, values in shown)
        ),
        numbers=frozenset(range(1, len(shown) + 1)),
    )
