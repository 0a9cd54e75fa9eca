"""Rows whose answers changed most."""

from kd2deploy.report.report import Report
from kd2deploy.report.tables.table import Cell, Table


def examples(report: Report) -> Table | None:
    """What was right, and what both answered; errors are marked by the task."""
    if not report.examples:
        return None
    return Table(
        caption="The rows whose answers changed most, those that got worse first. [right > answered] marks an error.",
        head=("Row", "Right", f"The {report.compared_with}", "Deployed"),
        rows=tuple(
            (Cell(f"{one.row:,}"), Cell(one.right), Cell(one.before), Cell(one.after)) for one in report.examples
        ),
    )
