"""The comparison of methods on a tiny model: every training is real, and so are the table, the plot and the resume."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from other_processes import PATIENCE_S
from recipes.small_run import recipe, written

from kd2deploy.core.artifact import sha256_of
from kd2deploy.core.watcher import Silent
from kd2deploy.errors import RecipeError, RunError
from kd2deploy.flows.compare import committed, compare, field_of, rounds
from kd2deploy.flows.compare.account import off_budget, word
from kd2deploy.flows.compare.contest import BASELINE, CONTROL
from kd2deploy.flows.compare.over_data import compare_over, named
from kd2deploy.flows.compare.settings import own
from kd2deploy.measure.over_seeds import difference_over_seeds
from kd2deploy.recipe import Distill, Recipe
from kd2deploy.recipe.resolve import known
from kd2deploy.report.comparison import Comparison
from kd2deploy.train.settings import Settings

METHODS = "dist", "combined_kd", "hidden"
TWO_SEEDS = {"seeds": [0, 1], "limit_labels": 67}
STEPS = 4 * 10
"""Four epochs in batches of 16 over 153 training rows: 160, less the 7 labels of 67 that are held out."""


def small(folder: Path, **changes: Any) -> Recipe:
    return Recipe.parse(recipe(folder, **{**TWO_SEEDS, **changes}))


class Listening(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, str]] = []
        self.said: list[str] = []

    def stage(self, name: str, state: str) -> None:
        self.stages.append((name, state))

    def say(self, text: str) -> None:
        self.said.append(text)


def test_every_method_has_its_recipe_and_all_parse() -> None:
    assert set(committed()) == set(known("method"))
    for name, file in committed().items():
        trainings = Recipe.read(file).distill
        assert all(entry.method == name or entry.method["use"] == name for entry in trainings), name  # type: ignore[index, call-overload]


def test_the_committed_comparison_parses() -> None:
    found = Recipe.read(next(iter(committed().values())).parent.parent / "compare.yaml")
    assert found.student.plan is None


def test_control_and_baseline_take_part_unasked_and_once() -> None:
    assert [one.name for one in field_of(["dist"])] == [CONTROL, BASELINE, "dist"]
    assert [one.name for one in field_of(["logit", "task_only"])] == [CONTROL, BASELINE]
    assert {one.name for one in field_of(["all"])} == set(known("method"))
    assert len(field_of(["all"])) == len(known("method"))


def test_a_method_that_the_recipe_names_has_the_recipes_own_arguments() -> None:
    hot = {"use": "logit", "temperature": 9.0}
    own = [Distill(method=method, settings=Settings()) for method in (hot, ["dist", "hidden"])]
    found = {one.name: [entry.method for entry in one.trainings] for one in field_of(["logit", "dist"], own)}
    assert found["logit"] == [hot]
    assert found["dist"] == [entry.method for entry in Recipe.read(committed()["dist"]).distill]


def test_an_unknown_method_is_refused_with_a_suggestion() -> None:
    with pytest.raises(RecipeError, match="did you mean 'rail_kd'"):
        field_of(["rail_dk"])


def test_a_planned_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"student.plan: a comparison needs one student"):
        compare(small(tmp_path, student={"plan": {"layers": [1]}}), tmp_path / "run")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def found(folder: Path) -> Comparison:
    return compare(small(folder), folder / "run", METHODS)


@pytest.mark.recipe
def test_all_take_the_same_steps_and_every_row_is_complete(found: Comparison) -> None:
    assert {one.method for one in found.standings} == {CONTROL, BASELINE, *METHODS}
    assert found.seeds == found.seeds_wanted == (0, 1)
    for one in found.standings:
        assert [run.steps for run in one.runs] == [STEPS, STEPS], one.method
        assert one.cost.value is not None
        assert one.cost.value > 0
        assert one.mean.value == pytest.approx(sum(run.score for run in one.runs) / 2)
        assert (one.against_control is None) == (one.role == "control")
        assert (one.against_baseline is None) == (one.role != "method")
    assert found.by_role("control").cost.value == pytest.approx(1)
    means = [one.mean.value or 0 for one in found.standings]
    assert means == sorted(means, reverse=True)


@pytest.mark.recipe
def test_a_method_in_two_phases_shares_the_budget(found: Comparison) -> None:
    combined = next(one for one in found.standings if one.method == "combined_kd")
    assert [re.sub(r"\(.*\)", "", text) for text in combined.trainings] == ["combined_kd , 20 steps"] * 2


@pytest.mark.recipe
def test_what_was_made_once_is_charged_to_every_method_that_needs_it(found: Comparison) -> None:
    setups = {one.method: [run.setup for run in one.runs] for one in found.standings}
    assert setups[CONTROL] == setups["hidden"] == [{}, {}]
    assert list(setups[BASELINE][0]) == ["teacher cache"]
    assert setups["dist"] == setups[BASELINE] == [setups[BASELINE][0]] * 2
    assert [list(one) for one in setups["combined_kd"]] == [["generator"]] * 2
    assert all(seconds > 0 for setup in setups.values() for one in setup for seconds in one.values())
    generators = {one.method: one.generator for one in found.standings if one.generator}
    assert generators == {"combined_kd": "derived from the teacher, 200 steps"}


@pytest.mark.recipe
def test_a_method_that_missed_the_time_budget_is_named(found: Comparison) -> None:
    one = found.by_role("baseline")
    spent = sum(run.setup_s + run.seconds for run in one.runs) / 2
    assert off_budget([one], None) == off_budget([one], spent / 1.09) == off_budget([one], spent / 0.91) == []
    for budget_s in (spent / 1.11, spent / 0.89):
        (said,) = off_budget([one], budget_s)
        assert said.startswith(f"{BASELINE} took")


def test_equal_differences_in_two_seeds_tell_nothing_apart() -> None:
    assert word(difference_over_seeds([0.82, 0.72], [0.80, 0.70])) == "not told apart"


@pytest.mark.recipe
def test_the_control_sees_labelled_rows_alone_for_as_many_steps(found: Comparison, folder: Path) -> None:
    assert found.data.details == {"labelled training rows": 60, "unlabelled training rows": 93}
    (stage,) = (folder / "run" / "stages").glob("task_only-seed0-*")
    (trained,) = json.loads((stage / "stage.json").read_text())["result"]["trained"]
    assert trained["steps"] == STEPS
    rows = trained["samples_per_second"] * trained["seconds"]
    assert round(rows) == 10 * 60  # four batches an epoch, so ten epochs


@pytest.mark.recipe
def test_the_pages_hold_every_method_and_the_same_verdicts(found: Comparison, folder: Path) -> None:
    stem = folder / "run" / "comparison-steps"
    read = Comparison.read(stem.with_suffix(".json"))
    assert read == found
    page, text = (stem.with_suffix(kind).read_text() for kind in (".html", ".md"))
    for one in found.standings:
        assert one.method in page
        assert one.method.replace("_", r"\_") in text
    plot = ElementTree.fromstring(stem.with_suffix(".svg").read_text())
    rows = [group for group in plot if group.tag.endswith("}g")]
    assert len(rows) == len(found.standings)
    assert all(sum(part.get("class") == "seed" for part in row) == 2 for row in rows)


@pytest.mark.recipe
def test_it_runs_again_without_training_anything_and_another_method_is_added(folder: Path, found: Comparison) -> None:
    watcher = Listening()
    again = compare(small(folder), folder / "run", (*METHODS, "rail_kd"), watcher=watcher)
    anew = {name for name, state in watcher.stages if state == "done"}
    assert anew == {"rail_kd-seed0", "rail_kd-seed1"}
    assert [run.score for run in again.by_role("control").runs] == [run.score for run in found.by_role("control").runs]
    assert sum("rail_kd: accuracy" in line for line in watcher.said) == 2


@pytest.mark.recipe
def test_equal_time_gives_a_dearer_method_fewer_steps_and_leaves_the_baseline(folder: Path, found: Comparison) -> None:
    timed = compare(small(folder), folder / "run", METHODS, "time")
    assert timed.by_role("baseline").runs == found.by_role("baseline").runs
    first = {one.method: one.runs[0] for one in found.standings}
    allowed = first[BASELINE].setup_s + first[BASELINE].seconds
    assert (timed.budget, timed.budget_s) == ("time", pytest.approx(allowed))
    for one in timed.standings:
        probe = first[one.method]
        fitting = (allowed - probe.setup_s) / (probe.seconds / probe.steps)
        assert one.runs[0].steps == pytest.approx(max(1, int(fitting + 1e-9)), abs=1), one.method
    fit = {name for name, probe in first.items() if probe.setup_s < allowed}
    assert fit >= {CONTROL, BASELINE, "dist", "hidden"}, "the baseline's own set-up serves them, or they have none"
    assert {one.method for one in timed.standings} == fit
    for name in first.keys() - fit:
        assert timed.left_out[name].startswith("its set-up alone takes")
    assert (folder / "run" / "comparison-time.html").is_file()
    assert (folder / "run" / "comparison-steps.html").is_file()


@pytest.mark.recipe
def test_a_method_that_does_not_fit_is_left_out_with_its_reason(folder: Path, found: Comparison) -> None:
    refused = compare(small(folder), folder / "run", ["logit_standardization", "dist", "data_free"])
    assert "inputs of classes out of noise" in refused.left_out["data_free"]
    assert "needs 3 classes or more" in refused.left_out["logit_standardization"]
    assert {one.method for one in refused.standings} == {CONTROL, BASELINE, "dist"}
    assert "logit_standardization" in (folder / "run" / "comparison-steps.html").read_text()


@pytest.mark.recipe
def test_the_command_prints_the_table_and_exits_with_0(folder: Path, found: Comparison) -> None:
    file = written(folder, limit_labels=60)
    command = [sys.executable, "-m", "kd2deploy", "compare", str(file), "--methods", "dist,hidden", "--seeds", "2"]
    done = subprocess.run([*command, "--out", str(folder / "run")], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert "comparison-steps.html" in done.stdout
    for method in ("task_only", "logit", "dist", "hidden"):
        assert method in done.stdout
    told = subprocess.run([*command, "--out", str(folder / "run"), "--json"], capture_output=True, timeout=PATIENCE_S)
    names = [one["method"] for one in json.loads(told.stdout)["comparison"]["standings"]]
    assert {"task_only", "logit", "dist", "hidden"} <= set(names)


@pytest.mark.recipe
def test_two_jobs_come_to_the_same_comparison_but_for_what_it_costs(folder: Path, found: Comparison) -> None:
    watcher, first = Listening(), small(folder, seeds=[0])  # one seed: each training starts a process of its own
    beside = compare(first, folder / "beside", ["dist", "logit_standardization"], watcher=watcher, jobs=2)
    for one in beside.standings:
        (other,) = (each for each in found.standings if each.method == one.method)
        assert [run.score for run in one.runs] == [run.score for run in other.runs[:1]]
        assert (one.trainings, one.cached) == (other.trainings, other.cached)
        assert (one.step_ms, one.cost.value, one.cost.note) == (None, None, "n/a (trained beside others)")
    assert weights(folder / "beside").items() <= weights(folder / "run").items()
    assert len(weights(folder / "beside")) == 3
    assert any("2 at a time (--jobs)" in warning for warning in beside.warnings)
    assert "trained beside others" in (folder / "beside" / "comparison-steps.md").read_text()
    assert sum("dist: accuracy" in line for line in watcher.said) == 1
    with pytest.raises(RunError, match="was trained beside others here"):
        compare(first, folder / "beside", ["dist"], "time")


def weights(run: Path) -> dict[str, str]:
    """Hashes of the students, by the stage's whole name, fingerprint included."""
    return {
        file.relative_to(run).as_posix(): sha256_of(file)
        for file in run.glob("stages/*seed*/student/model.safetensors")
    }


def test_what_is_timed_is_not_trained_beside_others(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--jobs: trainings are timed where time is equal"):
        compare(small(tmp_path), tmp_path / "run", budget="time", jobs=2)


def test_as_many_seeds_at_a_time_as_keep_all_processes_busy() -> None:
    assert rounds([0, 1, 2], 4, 1) == rounds([0, 1, 2], 4, 4) == [[0], [1], [2]]
    assert rounds([0, 1, 2], 4, 5) == [[0, 1], [2]]


def test_what_is_no_comparison_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "comparison.json"
    file.write_text('{"title": "x"}')
    with pytest.raises(RunError, match="not a comparison"):
        Comparison.read(file)
    with pytest.raises(RunError, match="give the comparison's JSON file"):
        Comparison.read(tmp_path / "none.json")


def test_entrants_of_a_persons_own_are_named_by_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("logit-cold: {use: logit, temperature: 1.0}\nboth: [dist, {use: hidden, weight: 0.1}]\n")
    assert [one.name for one in own(file)] == ["logit-cold", "both"]
    assert own(file)[0].trainings[0].method == {"use": "logit", "temperature": 1.0}
    assert own(None) == []


def test_entrants_may_have_data_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("free: {method: logit, data: {use: data_free, rounds: 2}}\nplain: {method: dist}\n")
    free, plain = own(file)
    assert free.trainings[0].data == {"use": "data_free", "rounds": 2}
    assert (plain.trainings[0].method, plain.trainings[0].data) == ("dist", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("logit: {use: logit}", "is a method's own name"),
        ("'../x': {use: logit}", "is no name of an entrant"),
        ("a: {use: logti}", "did you mean 'logit'"),
        ("a: {use: logit, temprature: 2}", "temperature"),
        ("a: {use: logit, temperature: -1}", "temperature"),
        ("a: {method: logit, data: {use: data_fre}}", "did you mean 'data_free'"),
        ("a: {method: logit, data: [1]}", "is a data source"),
        ("a: {method: logit, epochs: 3}", "beside `method` stands `data`"),
        ("- logit", "is a mapping of names to methods"),
        ("", "is a mapping of names to methods"),
        ("a: {", "settings.yaml"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_remedy(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=re.escape(said)):
        own(file)


def test_settings_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        own(tmp_path / "absent.yaml")


def test_two_recipes_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="rename one"):
        named([tmp_path / "a" / "same.yaml", tmp_path / "b" / "same.yaml"])


@pytest.mark.recipe
def test_a_comparison_over_two_data_sets_ranks_its_methods(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        "dist-gentle: {use: dist, beta: 0.5, gamma: 0.5}\n"
        "sure: {method: logit, data: {use: pseudo_labels, least_probability: 0.2}}\n"
    )
    recipes = {name: small(tmp_path, seeds=[0], limit_labels=labels) for name, labels in (("few", 40), ("more", 67))}
    found = compare_over(recipes, tmp_path / "over", ["dist"], settings=own(settings))
    assert {one.method for one in found.methods} == {CONTROL, BASELINE, "dist", "dist-gentle", "sure"}
    assert sum(one.mean_rank for one in found.methods) == pytest.approx(15)
    for name in recipes:
        (made,) = (tmp_path / "over" / name / "stages").glob("data-of-training-*")
        records = [json.loads(one.read_text()) for one in (made.parent).glob("sure-seed0-*/*.json")]
        assert any("data of 1" in record.get("parents", {}) for record in records), "the entrant's own rows are read"
    assert [one.name for one in found.data] == ["few", "more"]
    assert found.data[0].labelled < found.data[1].labelled
    for one in found.data:
        assert (tmp_path / "over" / one.page).is_file()
    assert (tmp_path / "over" / "ranking-steps.html").is_file()
