"""A report and its pages in a folder."""

from pathlib import Path

from kd2deploy.core.written import write_text
from kd2deploy.report.html import render_html
from kd2deploy.report.markdown import render_markdown
from kd2deploy.report.report import Report


def write_report(report: Report, folder: Path) -> None:
    """report.json first; the pages are rendered from it. Each is the old or the new one, should a kill come between."""
    report.write(folder / "report.json")
    write_text(folder / "report.html", render_html(report))
    write_text(folder / "report.md", render_markdown(report))
