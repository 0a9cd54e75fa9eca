"""The ranking of methods over data sets as page, Markdown, plot and terminal table, of rows whose outcome is known."""

from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from kd2deploy.report.origin import TaskInfo
from kd2deploy.report.ranking import Contested, Ranked, Ranking
from kd2deploy.report.ranking_pages import (
    print_ranking,
    render_ranking_html,
    render_ranking_markdown,
    write_ranking,
)
from kd2deploy.report.ranking_plot import laid_out
from kd2deploy.report.ranking_text import conclusions


def one(method: str, rank: float, **changes: object) -> Ranked:
    whole = {
        "role": "method",
        "trainings": (f"{method}, 10 steps",),
        "scores": (0.8, 12.5),
        "gaps_closed": (0.5, None),
        "better": 2,
        "worse": 0,
    }
    return Ranked(method=method, mean_rank=rank, **{**whole, **changes})  # type: ignore[arg-type]


def ranking(**changes: object) -> Ranking:
    data = (
        Contested("news", "R8 (official split)", TaskInfo("text", "accuracy"), 90, 910, 0.9, "news/c.html"),
        Contested("prices", "prices.csv", TaskInfo("text", "rmse", "number", "EUR", (), False), 50, 0, 9.0, "p/c.html"),
    )
    methods = (one("good<b>", 1.0), one("logit", 2.2, role="baseline"), one("task_only", 2.8, role="control"))
    whole: dict[str, object] = {
        "budget": "steps",
        "data": data,
        "methods": methods,
        "critical_difference": 1.5,
        "p_value": 0.01,
        "alike": ((0, 1), (1, 2)),
        "seeds": (0, 1, 2),
        "left_out": ("cr_ild",),
        "command": "kd2deploy compare a.yaml b.yaml",
        "finished": "2026-11-26T08:00:00+00:00",
    }
    return Ranking(**{**whole, **changes})  # type: ignore[arg-type]


def test_who_is_surely_behind_the_best_is_named() -> None:
    said = " ".join(conclusions(ranking()))
    assert "Surely behind good<b>, all pairs allowed for: task_only (no teacher)." in said
    assert "logit," not in said


def test_ranks_that_chance_explains_tell_nobody_apart() -> None:
    said = " ".join(conclusions(ranking(p_value=0.4)))
    assert "do not surely differ from chance" in said
    assert "behind" not in said


def test_untested_ranks_say_so() -> None:
    assert conclusions(ranking(p_value=None, critical_difference=None, alike=())) == [
        "Ranks are not tested: that takes two data sets and three methods at least."
    ]


def test_each_data_set_has_its_own_metric_and_unit() -> None:
    page = render_ranking_markdown(ranking(), "ranking-steps.svg")
    assert "80.00 %" in page
    assert "12.50 EUR" in page
    assert "cr\\_ild" in page
    assert "![" in page


def test_the_page_escapes_names_and_fetches_nothing() -> None:
    page = render_ranking_html(ranking())
    assert "good&lt;b&gt;" in page
    assert "good<b>" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_plot_puts_ranks_on_one_axis_and_bars_over_what_is_alike() -> None:
    plot = laid_out(ranking())
    assert [mark.rank for mark in plot.marks] == ["1.0", "2.2", "2.8"]
    assert plot.marks[0].x < plot.marks[1].x < plot.marks[2].x
    assert len(plot.bars) == 2
    assert plot.difference is not None
    assert plot.difference.x2 > plot.difference.x1


@pytest.mark.parametrize("difference", [1.5, None])
def test_everything_is_written(tmp_path: Path, difference: float | None) -> None:
    found = ranking(critical_difference=difference, alike=((0, 1),) if difference else ())
    files = write_ranking(found, tmp_path)
    assert {file.name for file in files.values()} == {f"ranking-steps.{kind}" for kind in ("json", "html", "md", "svg")}
    ElementTree.parse(files["svg"])
    shown = StringIO()
    print_ranking(found, Console(file=shown, width=200))
    assert "task_only (no teacher)" in shown.getvalue()
