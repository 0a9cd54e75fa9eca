"""What a comparison says of rows whose outcome is known: no number is trained here."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from kd2deploy.core.estimate import Estimate
from kd2deploy.report import DataInfo, TaskInfo, render_html, render_markdown
from kd2deploy.report.comparison import Comparison, Difference, SeedRun, Standing, Word
from kd2deploy.report.comparison_pages import (
    print_comparison,
    render_comparison_html,
    render_comparison_markdown,
    write_comparison,
)
from kd2deploy.report.comparison_plot import Axis, laid_out, render_svg
from kd2deploy.report.comparison_text import caveats, conclusions
from kd2deploy.report.tables.comparison import standings, trainings
from tests.report.example import example


def difference(word: Word, value: float) -> Difference:
    known = Estimate(value, value - 0.01, value + 0.01)
    return Difference(known, known, word)


def standing(method: str, score: float, **changes: object) -> Standing:
    setup = {"teacher cache": 1.0, "generator": 20.0}
    runs = tuple(SeedRun(seed, score + 0.01 * (seed - 1), 100, 5.0, setup, 1.2) for seed in range(3))
    whole = Standing(
        method=method,
        role="method",
        trainings=(f"{method}, 100 steps",),
        runs=runs,
        mean=Estimate(score, score - 0.02, score + 0.02),
        spread=0.01,
        against_baseline=difference("not told apart", 0.0),
        against_control=difference("better", 0.05),
        gap_closed=Estimate(0.5, 0.4, 0.6),
        step_ms=50.0,
        cost=Estimate(1.5, 1.4, 1.6),
        cached=True,
        generator="derived from the teacher, 200 steps",
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


@pytest.fixture
def found() -> Comparison:
    rows = (
        standing("good", 0.80, against_baseline=difference("better", 0.05)),
        standing("plain", 0.75, role="baseline", against_baseline=None),
        standing("none", 0.70, role="control", against_baseline=None, against_control=None, gap_closed=None),
        standing(
            "harm<b>ful",
            0.60,
            against_baseline=difference("worse", -0.15),
            against_control=difference("worse", -0.10),
            gap_closed=Estimate(None, note="the teacher is not surely better than no teacher"),
        ),
    )
    return Comparison(
        title="Methods on news",
        budget="steps",
        budget_about="100 optimizer steps each",
        budget_s=None,
        task=TaskInfo("text_classification", "accuracy"),
        data=DataInfo("news", 1000, 500, details={"labelled training rows": 100, "unlabelled training rows": 900}),
        teacher=0.9,
        sizes={"teacher": 22_000_000, "student": 4_000_000},
        standings=rows,
        seeds=(0, 1, 2),
        seeds_wanted=(0, 1, 2),
        left_out={"odd": "it does not fit"},
    )


def row(found: Comparison, method: str) -> list[str]:
    cells = next(cells for cells in standings(found).rows if cells[0].text.startswith(method))
    return [f"{cell.text} {cell.under}".strip() for cell in cells]


def test_a_method_that_does_harm_is_shown_as_such_everywhere(found: Comparison) -> None:
    assert "-10.00 points [-11.00, -9.00] WORSE than no teacher" in row(found, "harm")
    assert any("1 WORSE (harm<b>ful)" in line for line in conclusions(found))
    for page in (render_comparison_html(found), render_comparison_markdown(found)):
        assert "WORSE than no teacher" in page
    svg = ElementTree.fromstring(render_svg(found))
    (harmful,) = [group for group in svg if "harm" in "".join(group.itertext()) and group.tag.endswith("}g")]
    assert "worse than no teacher" in "".join(harmful.itertext())
    assert [part.get("class") for part in harmful if part.tag.endswith("}path")] == ["arm worse"]


def test_each_row_says_how_it_stands_to_plain_logits_and_to_no_teacher(found: Comparison) -> None:
    assert row(found, "good")[3:5] == ["+5.00 points [+4.00, +6.00] better", "+5.00 points [+4.00, +6.00] better"]
    assert row(found, "plain")[3:5] == ["", "+5.00 points [+4.00, +6.00] better"]
    assert row(found, "none")[3:6] == ["", "", ""]
    assert row(found, "none")[0] == "none (no teacher)"
    assert row(found, "harm")[5] == "n/a the teacher is not surely better than no teacher"


def test_set_up_and_training_stand_apart_and_the_generator_is_named(found: Comparison) -> None:
    assert row(found, "good")[7:] == ["21.0 s", "5.00 s 100 steps"]
    (cells,) = [cells for cells in trainings(found).rows if cells[0].text == "good"]
    assert [cell.text for cell in cells[2:4]] == [
        "derived from the teacher, 200 steps",
        "teacher cache 1.00 s, generator 20.0 s",
    ]
    assert "derived from the teacher, 200 steps" in render_comparison_html(found)


def test_where_a_second_training_starts_is_said_of_methods_that_have_one(found: Comparison) -> None:
    assert "keep: last" not in " ".join(caveats(found))
    twice = replace(found, standings=(*found.standings, standing("two", 0.7, trainings=("one", "other"))))
    assert "starts its second from the student that its first kept: with `keep: last`" in " ".join(caveats(twice))


def test_the_summary_counts_the_methods(found: Comparison) -> None:
    assert conclusions(found) == [
        "Against plain, of 2 methods: 1 better (good), 1 worse (harm<b>ful), 0 not distinguishable.",
        "Against no teacher, of 3 methods: 2 better (good, plain), 1 WORSE (harm<b>ful), 0 not distinguishable.",
    ]


def test_one_seed_tells_nothing_apart(found: Comparison) -> None:
    (line,) = conclusions(replace(found, seeds=(0,)))
    assert line.startswith("One seed was trained, so nothing is told apart")


def test_what_the_intervals_cover_and_who_read_which_rows_is_said(found: Comparison) -> None:
    text = " ".join(caveats(found))
    assert "over 3 seeds paired by seed" in text
    assert "say nothing of other data" in text
    assert "900 unlabelled rows" in text
    labelled = replace(found, data=DataInfo("news", 1000, 500, details={"unlabelled training rows": 0}))
    assert "unlabelled" not in " ".join(caveats(labelled))


def test_seeds_that_are_still_to_come_are_named(found: Comparison) -> None:
    assert "Not finished: seeds 3, 4 are to come" in " ".join(caveats(replace(found, seeds_wanted=(0, 1, 2, 3, 4))))


def test_foreign_text_is_escaped_on_every_page(found: Comparison) -> None:
    assert "<b>ful" not in render_comparison_html(found)
    assert "<b>ful" not in render_svg(found)
    assert r"harm\<b\>ful" in render_comparison_markdown(found)


def test_the_page_fetches_nothing_and_runs_no_script(found: Comparison) -> None:
    page = render_comparison_html(found)
    assert "<script" not in page
    assert "src=" not in page
    assert page.count("<table>") == 4


def test_marks_lie_in_the_order_of_their_values_and_inside_the_frame(found: Comparison) -> None:
    plot = laid_out(found)
    assert [one.x for one in plot.rows] == sorted((one.x for one in plot.rows), reverse=True)
    for one in plot.rows:
        assert one.low is not None
        assert one.high is not None
        assert plot.left <= one.low < one.x < one.high <= plot.right
    assert [line.text for line in sorted(plot.lines, key=lambda line: line.x)] == ["no teacher", "plain", "teacher"]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.412, 0.437), (-3.0, 250.0), (0.5, 0.5000001)])
def test_an_axis_has_a_few_round_ticks_inside_it(low: float, high: float) -> None:
    ticks = Axis(low, high).ticks()
    assert 2 <= len(ticks) <= 7
    assert all(low <= tick <= high + 1e-12 for tick in ticks)


def test_the_terminal_shows_the_table_the_summary_and_what_was_left_out(found: Comparison) -> None:
    out = StringIO()
    print_comparison(found, Console(file=out, width=220))
    for text in ("good", "none (no teacher)", "WORSE than no teacher", "left out: odd (it does not fit)"):
        assert text in out.getvalue()


def test_four_files_are_written_and_the_markdown_points_to_the_plot(found: Comparison, tmp_path: Path) -> None:
    files = write_comparison(found, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {f"comparison-steps.{kind}" for kind in files}
    assert "](comparison-steps.svg)" in files["md"].read_text()
    assert Comparison.read(files["json"]) == found


def test_a_runs_own_report_names_the_generator_with_its_training() -> None:
    told = replace(example(), generator="derived from the teacher, 200 steps")
    for page in (render_html(told), render_markdown(told)):
        assert "Generator: derived from the teacher, 200 steps" in page
