"""What a search says of trials whose outcome is known: no number is trained here."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from kd2deploy.core.estimate import Estimate
from kd2deploy.report.origin import TaskInfo
from kd2deploy.report.plots.search import axis, coordinates, scores
from kd2deploy.report.training import SeedResult
from kd2deploy.report.tuning import Final, Judged, Search, Trial, Tuning
from kd2deploy.report.tuning_pages import print_tuning, render_tuning_html, render_tuning_markdown
from kd2deploy.report.tuning_text import caveats, conclusions, cost, finals

SPACE = {
    "rate": {"low": 0.01, "high": 1.0, "log": True},
    "share": {"low": 0.0, "high": 2.0, "log": False},
    "layers": {"one of": ["uniform", "<top>", "[[1, 2]]"]},
}


@pytest.fixture
def found() -> Tuning:
    trials = (
        Trial(1, {"rate": 0.1, "share": 0.5, "layers": "uniform"}, "finished", 0.70, 1.0, 100, 5.0),
        Trial(2, {"rate": 0.01, "share": 2.0}, "finished", 0.80, 1.0, 100, 5.0),
        Trial(3, {"rate": 1.0, "share": 0.0, "layers": "<top>"}, "pruned", 0.60, 0.25, 25, 1.0),
        Trial(4, {"rate": 1.0, "share": 1.0, "layers": "uniform"}, "failed", None, steps=100, note="not <finite>"),
    )
    student = Search("student", SPACE, trials[0].params, trials, 2, 325, 11.0, "the budget is spent")
    control = replace(student, role="control", trials=trials[:1], best=1)
    judged = Judged("cpu", "PASS", "It helped.", (SeedResult(0, 0.8, 0.7),), Estimate(0.1, 0.05, 0.15), "report.html")
    return Tuning(
        title="Settings searched",
        task=TaskInfo("some", "accuracy"),
        data="rows",
        budget="500 optimizer steps",
        searches=(student, control),
        tuned="distill: []\n",
        recipe="",
        seeds=(0,),
        judged=(judged,),
        command="kd2deploy tune <x>.yaml",
        finished="2026-01-01T00:00:00+00:00",
    )


def test_values_stand_where_their_range_says(found: Tuning) -> None:
    student = found.searches[0]
    assert axis("rate", SPACE["rate"], student.trials).places == pytest.approx({1: 0.5, 2: 0.0, 3: 1.0, 4: 1.0})
    assert axis("share", SPACE["share"], student.trials).places == {1: 0.25, 2: 1.0, 3: 0.0, 4: 0.5}
    assert axis("layers", SPACE["layers"], student.trials).places == {1: 0.0, 3: 0.5, 4: 0.0}
    assert scores(found, student.trials[:3]).places == pytest.approx({1: 0.5, 2: 1.0, 3: 0.0})
    less = replace(found, task=replace(found.task, higher_is_better=False))
    assert scores(less, student.trials[:3]).places == pytest.approx({1: 0.5, 2: 0.0, 3: 1.0})


def test_the_winner_is_drawn_last_and_what_failed_is_not(found: Tuning) -> None:
    lines = coordinates(found, found.searches[0]).data
    assert [line.name for line in lines] == ["trial 3", "trial 1", "the winner"]
    assert lines[0].line.dash == "dot"
    assert list(lines[-1].x) == [0, 1, 3], "it has no value on the axis of what it did not try"
    assert len(coordinates(found, found.searches[1]).data) == 1


def test_words_and_costs_are_those_of_the_trials(found: Tuning) -> None:
    first = conclusions(found)[0]
    assert "trial 2" in first
    assert "80.00 %" in first
    assert "70.00 % with the recipe's own" in first
    row = [cell.text for cell in cost(found).rows[0]]
    assert row[1:8] == ["4", "2", "1", "1", "0", "0", "325"]


def test_every_page_escapes_what_it_is_given(found: Tuning) -> None:
    page = render_tuning_html(found)
    assert "kd2deploy tune &lt;x&gt;.yaml" in page
    assert "not &lt;finite&gt;" in page
    assert "<top>" not in page
    shown = render_tuning_markdown(found)
    assert "# Settings searched" in shown
    assert "not \\<finite\\>" in shown
    stream = StringIO()
    print_tuning(found, Console(file=stream))
    assert "tuned student against tuned control" in stream.getvalue()
    assert "not judged yet" in conclusions(replace(found, judged=()))[-1]


def test_what_other_seeds_came_to_is_told_and_who_won_by_it(found: Tuning) -> None:
    student = replace(
        found.searches[0], best=1, finals=(Final(2, (0.6, 0.4)), Final(1, (0.7, 0.68)), Final(4, (0.9, None)))
    )
    told = replace(found, searches=(student, found.searches[1]), seeds=(0, 1, 2))
    first = conclusions(told)[0]
    assert "trial 1 won" in first
    assert "with 2 further seeds 69.00 %" in first
    table = finals(told, student)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["2", "60.00 %", "40.00 %", "50.00 %"],
        ["1", "70.00 %", "68.00 %", "69.00 %"],
        ["4", "90.00 %", "n/a", "n/a"],
    ]
    assert table.strong == {1}
    assert "seed 2" in render_tuning_html(told)
    doubts = [line for line in caveats(told) if "no room" in line]
    assert len(doubts) == 1
    assert "control" in doubts[0]
    assert not [line for line in caveats(found) if "no room" in line], "one seed has no other to try with"
