"""What a notebook shows of a report and of a result."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from kd2deploy.core.verdict import Outcome, Verdict
from kd2deploy.flows.compress import Result
from kd2deploy.report import Report
from tests.report.example import HOSTILE, example


class Seen(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_report_shows_its_verdict_and_who_was_compared() -> None:
    report = example()
    seen = Seen(report._repr_html_())
    assert report.verdict is not None
    assert report.verdict.sentence in seen.text
    assert seen.elements.count("tr") == 1 + len(report.contenders)
    assert all(one.name in seen.text for one in report.contenders)
    assert "sha256" not in seen.text


def test_a_result_says_where_its_page_and_bundle_lie() -> None:
    found = Result("cpu", example(), Path("runs/mine"), Path("runs/mine/bundle"))._repr_html_()
    assert "<code>runs/mine/report.html</code>" in found
    assert "<code>runs/mine/bundle</code>" in found


def test_every_text_is_shown_as_it_is() -> None:
    report = example()
    hostile = replace(report, title=HOSTILE, verdict=Verdict(Outcome.PASS, HOSTILE), contenders=report.contenders[:1])
    hostile = replace(hostile, contenders=(replace(hostile.contenders[0], name=HOSTILE),))
    seen = Seen(Result("cpu", hostile, Path(HOSTILE), None)._repr_html_())
    assert "script" not in seen.elements
    assert seen.text.count(HOSTILE) == 4


def test_a_report_of_nothing_is_its_title() -> None:
    seen = Seen(Report("Only planned")._repr_html_())
    assert seen.text.split() == ["Only", "planned"]
    assert "table" not in seen.elements
