"""Rows whose answers changed, on every page."""

from kd2deploy.core.examples import Example
from kd2deploy.report.html import render_html
from kd2deploy.report.markdown import render_markdown
from kd2deploy.report.report import Report
from kd2deploy.report.tables import examples

REPORT = Report(title="speech", examples=(Example(1234, "a <b>", "a <b>", "a [<b> > c]"),))


def test_a_row_for_each_example_and_none_for_other_tasks() -> None:
    table = examples(REPORT)
    assert table is not None
    assert [cell.text for cell in table.rows[0]] == ["1,234", "a <b>", "a <b>", "a [<b> > c]"]
    assert table.head[2] == "The teacher"
    assert examples(Report(title="pictures")) is None


def test_answers_are_text_on_every_page() -> None:
    page, text = render_html(REPORT), render_markdown(REPORT)
    assert "[&lt;b&gt; &gt; c]" in page
    assert "a <b>" not in page
    assert "a \\[\\<b\\> \\> c\\]" in text


def test_it_comes_back_from_json() -> None:
    assert Report.from_json(REPORT.to_json()) == REPORT
