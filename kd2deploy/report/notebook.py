"""The report as a notebook shows it: the verdict and who was compared. The page has the rest."""

from dataclasses import replace

from kd2deploy.report.formats import outcome
from kd2deploy.report.html import environment
from kd2deploy.report.report import Report
from kd2deploy.report.tables import Table, contenders

COLUMNS = ("Contender", "Median", "P99", "Size")
"""What is shown of the table of contenders, beside the metric."""


def notebook_html(report: Report, places: dict[str, str] | None = None) -> str:
    """A few lines of HTML, every text of the report escaped; `places` says what lies where."""
    verdict = report.verdict
    return (
        environment()
        .get_template("notebook.html.jinja")
        .render(
            title=report.title,
            outcome=outcome(verdict.outcome) if verdict else "",
            sentence=verdict.told if verdict else "",
            table=small(report),
            places=places or {},
        )
    )


def small(report: Report) -> Table | None:
    """The contenders with few columns; None where there are none."""
    whole = contenders(report)
    if whole is None:
        return None
    metric = report.task.metric if report.task else "Metric"
    kept = [place for place, name in enumerate(whole.head) if name in (*COLUMNS, metric)]
    return replace(
        whole,
        head=tuple(whole.head[place] for place in kept),
        rows=tuple(tuple(row[place] for place in kept) for row in whole.rows),
    )
