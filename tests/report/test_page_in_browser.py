"""The page as a reader meets it: in Chromium, from disk, wide and narrow, light and dark."""

from dataclasses import replace
from pathlib import Path

import pytest

from kd2deploy.report import Report, render_html
from kd2deploy.report.plots import accuracy_latency
from tests.report.browser import Browser
from tests.report.example import HOSTILE, profile_alone

DRAWN = (
    "[...document.querySelectorAll('.plot')].every(one => one.matches('.js-plotly-plot') && one.querySelector('svg'))"
)
MARKS = "document.querySelectorAll('.js-plotly-plot .trace').length"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LOWEST_CONTRAST = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const light = color => {
    canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const style = getComputedStyle(document.documentElement);
  const between = (one, other) => {
    const [a, b] = [one, other].map(name => light(style.getPropertyValue("--" + name))).sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const pairs = ["ink", "soft", "student", "pass", "fail", "inconclusive", "invalid"].map(name => [name, "card"]);
  const washes = ["pass", "fail", "inconclusive", "invalid"].map(name => [name, name + "-wash"]);
  return Math.min(...[...pairs, ...washes, ["soft", "page"]].map(([one, other]) => between(one, other)));
})()"""


OVERLAPS = """(() => {
  const found = [];
  for (const plot of document.querySelectorAll('.js-plotly-plot')) {
    const kinds = '.xtick text, .ytick text, .annotation-text, .legendtext, .xtitle, .ytitle';
    const texts = [...plot.querySelectorAll(kinds)]
      .filter(one => one.textContent.trim()).map(one => ({said: one.textContent, box: one.getBoundingClientRect()}))
      .filter(one => one.box.width > 0);
    texts.forEach((one, at) => texts.slice(at + 1).forEach(other => {
      const wide = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const high = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
      if (wide > 2 && high > 3) found.push(plot.id + ': ' + one.said + ' | ' + other.said);
    }));
  }
  return found;
})()"""
"""Texts of one figure whose boxes share more than a line's slack."""


@pytest.mark.parametrize("width", [1280, 390])
def test_no_label_of_a_figure_covers_another(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width)
    assert browser.value("document.querySelectorAll('.js-plotly-plot .ytick text').length") > 10
    assert browser.value(OVERLAPS) == []


def test_a_long_chain_of_drops_is_read_on_a_phone(browser: Browser, report: Report, tmp_path: Path) -> None:
    first, *rest = report.drop_chain
    names = ("student", "onnx", "onnx-fused-int8 / fused_from_onnx", "deployed (onnx-fused-int8)")
    long = tuple(replace(link, step=name) for link, name in zip(rest, names, strict=True))
    path = tmp_path / "report.html"
    path.write_text(render_html(replace(report, drop_chain=(first, *long))), encoding="utf-8")
    browser.open(path, 390)
    assert browser.value(OVERLAPS) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_draws_its_figures_quietly_and_fits(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width, dark=dark)
    assert browser.complaints() == []
    assert browser.value("document.querySelectorAll('.plot').length") >= 7
    assert browser.value(DRAWN)
    assert browser.value(MARKS) >= 20
    assert browser.value("window.innerWidth") == width
    assert browser.value(OVERFLOW) <= 0


def test_the_page_asks_for_nothing_but_itself(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    assert browser.requests() == [page.as_uri()]


def test_figures_stay_inside_the_page_on_a_phone(browser: Browser, page: Path) -> None:
    browser.open(page, 390)
    widest = browser.value("Math.max(...[...document.querySelectorAll('.main-svg')].map(one => one.clientWidth))")
    assert 200 < widest <= 390


def test_figures_change_their_ink_with_the_readers_scheme(browser: Browser, page: Path) -> None:
    ink = "getComputedStyle(document.querySelector('#plot-latency .xtick text')).fill"
    browser.open(page, 1280)
    before = browser.value(ink)
    browser.scheme(dark=True)
    redrawn = browser.value("new Promise(done => setTimeout(() => done(true), 400))")
    assert redrawn
    assert browser.value(ink) != before
    assert browser.value(ink) == browser.value("getComputedStyle(document.body).color")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_keeps_the_contrast_that_wcag_asks_for(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, 1280, dark=dark)
    assert browser.value(LOWEST_CONTRAST) >= 4.5


def test_a_hostile_label_is_shown_as_it_stands(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    assert HOSTILE in browser.value("document.body.textContent")
    scripts = browser.value("[...document.scripts].filter(one => one.textContent.trim() === 'alert(1)').length")
    assert scripts == 0


def test_a_reader_of_a_screen_reader_finds_headings_captions_and_names(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    assert browser.value("document.documentElement.lang") == "en"
    assert browser.value("document.title").startswith("PASS: ")
    assert browser.value("document.querySelectorAll('h1').length") == 1
    assert browser.value("[...document.querySelectorAll('table')].every(one => one.caption && one.tHead)")
    assert browser.value("[...document.querySelectorAll('thead th')].every(one => one.scope && one.textContent)")
    assert browser.value("[...document.querySelectorAll('.plot')].every(one => one.ariaLabel && one.role === 'img')")
    assert browser.value("[...document.querySelectorAll('figure')].every(one => one.querySelector('figcaption'))")
    ids = browser.value("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert browser.value("[...document.querySelectorAll('nav a')].every(one => document.querySelector(one.hash))")
    assert len([one for one in ids if one.startswith("plot-")]) == browser.value(
        "new Set([...document.querySelectorAll('.plot')].map(one => one.id)).size"
    )


def test_a_profile_alone_makes_a_page_too(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "profile.html"
    path.write_text(render_html(profile_alone()), encoding="utf-8")
    browser.open(path, 390)
    assert browser.complaints() == []
    assert browser.value(OVERFLOW) <= 0
    assert browser.value("document.querySelectorAll('.plot').length") == 1
    assert "n/a (needs 662)" in browser.value("document.body.textContent")


def test_variants_have_shapes_of_their_own(report: Report) -> None:
    variant = next(one for one in report.contenders if one.role == "variant")
    six = [replace(variant, name=f"variant {place}", sha256=str(place)) for place in range(6)]
    drawn = accuracy_latency(replace(report, contenders=(*report.contenders, *six)))
    assert drawn is not None
    symbols = [trace.marker.symbol for trace in drawn.data]
    assert len(set(symbols[-7:])) == 7
