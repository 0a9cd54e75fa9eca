"""A browser for the whole folder: starting one takes a second."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kd2deploy.report import Report, render_html
from tests.report.browser import Browser, chromium
from tests.report.example import example


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("no chromium on this machine: the page cannot be opened in a real browser")
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="session")
def report() -> Report:
    return example()


@pytest.fixture(scope="session")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_html(report), encoding="utf-8")
    return path
