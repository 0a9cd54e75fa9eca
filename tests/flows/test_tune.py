"""A search on a tiny model: every trial is a real training, and the same command finds them again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from recipes.small_run import recipe, written
from typer.testing import CliRunner

from kd2deploy.cli import app
from kd2deploy.core.watcher import Silent
from kd2deploy.errors import RecipeError
from kd2deploy.flows.tune import TUNED, searched, tune
from kd2deploy.recipe import Recipe
from kd2deploy.report.tuning import Search, Tuning

pytest.importorskip("optuna")

STEPS_OF_ONE = 4 * 9
"""Four epochs in batches of 16 over 144 training rows: 160, less those that are held out."""
BUDGET = 6 * STEPS_OF_ONE
WITH_FINALS = 9 * STEPS_OF_ONE
"""Of which two thirds are for trials."""
ENOUGH_TO_SEE, TWO = 5, 2
SPACE = {
    "steps": BUDGET,
    "methods": ["logit", "hidden"],
    "search": {"epochs": [2.0, 4.0], "logit.temperature": None, "hidden.temperature": None, "hidden.alpha": None},
}


def small(folder: Path, **changes: Any) -> Recipe:
    quickly = {"processes": 3, "cap_s": 0.5, "block_s": 0.02, "end_to_end": False}
    return Recipe.parse(recipe(folder, **{"tune": SPACE, "measurement": quickly, **changes}))


class Listening(Silent):
    """Keeps what became of every stage."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, str]] = []

    def stage(self, name: str, state: str) -> None:
        self.stages.append((name, state))

    def made(self) -> set[str]:
        return {name for name, state in self.stages if state == "done"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tune")


@pytest.fixture(scope="module")
def found(folder: Path) -> Tuning:
    return searched(small(folder), folder / "run")[0]


def tried(search: Search) -> list[Any]:
    return [(one.params, one.outcome, one.score, one.steps) for one in search.trials]


def best_trial(search: Search) -> int:
    finished = [one for one in search.trials if one.outcome == "finished"]
    return max(finished, key=lambda one: one.score or 0.0).number


def winner_by_hand(search: Search) -> int:
    """By the scores with the second seed; the recipe's own, trial 1, where no other is better."""
    scores = {one.trial: one.scores[0] or 0.0 for one in search.finals}
    best = max(scores.values())
    return 1 if scores[1] == best else next(trial for trial, score in scores.items() if score == best)


@pytest.mark.recipe
def test_student_and_control_are_searched_within_the_same_budget(found: Tuning) -> None:
    student, control = found.searches
    assert (student.role, control.role) == ("student", "control")
    for one in found.searches:
        assert sum(trial.steps for trial in one.trials) == one.steps <= BUDGET
        assert one.trials[0].params == one.own, "the recipe itself comes first"
        assert one.trials[0].outcome == "finished"
        finished = [trial.score for trial in one.trials if trial.outcome == "finished"]
        assert one.winner.score == max(finished)  # type: ignore[type-var]
        assert one.ended == "the budget is spent"
        assert len({json.dumps(dict(trial.params)) for trial in one.trials}) >= ENOUGH_TO_SEE
    pruned = [trial for one in found.searches for trial in one.trials if trial.outcome == "pruned"]
    assert pruned
    assert all(trial.share < 1 and trial.steps < STEPS_OF_ONE for trial in pruned)
    assert {trial.params["method"] for trial in student.trials} == {"logit", "hidden"}
    assert set(control.names) == {"epochs", "learning_rate"}


@pytest.mark.recipe
def test_of_a_trial_its_result_alone_is_kept(found: Tuning, folder: Path) -> None:
    trials = list((folder / "run" / "stages").glob("trial-*"))
    assert len(trials) >= ENOUGH_TO_SEE
    assert {file.name for one in trials for file in one.iterdir()} == {"stage.json", "done.json"}
    assert not list((folder / "run" / "stages").glob(".*.partial"))


@pytest.mark.recipe
def test_the_same_trials_are_found_again_and_a_lost_one_is_made_again(found: Tuning, folder: Path) -> None:
    shutil.rmtree(next((folder / "run" / "stages").glob("trial-student3-seed0-*")))
    told = Listening()
    again, tuned = searched(small(folder), folder / "run", told)
    assert told.made() == {"trial-student3-seed0"}
    assert list(map(tried, again.searches)) == list(map(tried, found.searches))
    assert Recipe.read(folder / "run" / TUNED) == tuned


@pytest.mark.recipe
def test_side_by_side_the_trials_are_the_same_to_the_bit(found: Tuning, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "run", tmp_path / "run", ignore=shutil.ignore_patterns("trial-*", "tuning.*"))
    less = {**SPACE, "steps": 3 * STEPS_OF_ONE}
    beside, _ = searched(small(folder, tune=less, control=False), tmp_path / "run", jobs=2)
    (student,) = beside.searches
    assert len(student.trials) > 1
    assert tried(student) == tried(found.searches[0])[: len(student.trials)]


@pytest.mark.recipe
def test_the_winner_is_trained_over_the_seeds_and_judged_against_the_tuned_control(found: Tuning, folder: Path) -> None:
    more = {**SPACE, "steps": WITH_FINALS}
    told, (result,) = tune(small(folder, seeds=[0, 1], tune=more), folder / "run")
    student, control = told.searches
    assert list(map(tried, told.searches)) == list(map(tried, found.searches)), "what finals take is kept for them"
    for one in told.searches:
        assert len(one.finals) >= TWO
        assert one.steps <= WITH_FINALS
        assert {final.trial for final in one.finals} >= {1, best_trial(one)}, "the recipe's own, and the best"
        assert one.best == winner_by_hand(one)
    (judged,) = told.judged
    assert [one.seed for one in judged.seeds] == [0, 1]
    assert all(one.student is not None and one.control is not None for one in judged.seeds)
    assert judged.outcome == result.outcome
    tuned = Recipe.read(folder / "run" / TUNED)
    entry = tuned.distill[-1]
    assert entry.settings.learning_rate == student.winner.params["learning_rate"]
    own = tuned.control_changes
    assert own.get("learning_rate", entry.settings.learning_rate) == control.winner.params["learning_rate"]
    stages = [json.loads(file.read_text()) for file in (folder / "run" / "stages").glob("control-seed*/stage.json")]
    rates = {one["spec"]["trainings"][-1]["settings"]["learning_rate"] for one in stages}
    assert rates == {control.winner.params["learning_rate"]}
    page = (folder / "run" / "tuning.html").read_text()
    assert 'id="plot-student"' in page
    assert 'id="plot-control"' in page
    assert 'href="report.html"' in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tune": None}, "needs a budget"),
        ({"tune": {"steps": 3}}, "one training takes 36 steps; give 180 or more"),
        ({"student": {"plan": {"layers": [1]}}}, "a search needs one student"),
        (
            {
                "tune": {
                    "steps": 500,
                    "search": dict.fromkeys(("epochs", "learning_rate", "logit.temperature", "logit.alpha")),
                }
            },
            "nothing to search",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_trained(
    changes: dict[str, Any], said: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=said):
        searched(small(folder, **changes), tmp_path / "run")
    assert not list(tmp_path.glob("run/stages/*"))


def test_two_budgets_that_are_typed_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path)
    done = CliRunner().invoke(app, ["tune", str(file), "--steps", "5", "--minutes", "1"])
    assert done.exit_code == 2
    assert "two budgets" in done.stderr
