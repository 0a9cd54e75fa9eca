"""A student of static embeddings: distilled, exported, measured end to end, bundled, asked; and what it refuses."""

from pathlib import Path

import pytest
import yaml
from recipes.asked import check_answers
from recipes.small_run import recipe

from kd2deploy.core.own import is_static
from kd2deploy.errors import RecipeError
from kd2deploy.flows.compress import Result, compress
from kd2deploy.recipe import Recipe

TRAINED = {"epochs": 6, "learning_rate": 2e-2, "batch": 16}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("static")
    spec = recipe(
        folder,
        student={"static": {"dim": 16}},
        distill=[{"method": ["dist", {"use": "contrastive", "beta": 0.1, "dim": 8}], **TRAINED}],
        control=False,
        measurement={"processes": 3, "cap_s": 1, "block_s": 0.02, "neighbour": True},
        gates={"max_drop": 0.5, "end_to_end": 1e-9},
    )
    (found,) = compress(Recipe.parse(spec), folder / "run")
    return found


@pytest.mark.recipe
def test_it_is_made_trained_timed_and_judged(result: Result) -> None:
    report = result.report
    assert report.verdict is not None
    gates = {gate.name: gate for gate in report.verdict.gates}
    assert gates["max_drop"].outcome == "PASS", report.verdict.sentence
    assert gates["end_to_end"].outcome != "FAIL"  # on a machine in use its interval may be too wide to tell
    assert gates["end_to_end"].estimate.value is not None
    (place,) = result.students
    assert is_static(place)
    assert report.deployed is not None
    assert report.deployed.metric is not None
    assert report.deployed.metric.value is not None
    assert report.deployed.metric.value > 0.8
    assert report.deployed.timing is not None
    assert report.deployed.timing.end_to_end is not None
    assert report.deployed.timing.crowded is not None
    assert report.deployed.timing.crowded.slowdown is not None
    assert all(one.crowded is not None for one in report.speedups)
    page = (result.folder / "report.md").read_text()
    assert "principal components" in page
    assert "Making the input" in page
    assert "Times as long" in page


@pytest.mark.recipe
def test_its_bundle_answers_as_the_report_says(result: Result) -> None:
    check_answers(result)


@pytest.mark.recipe
def test_methods_that_read_layers_are_refused_by_name_before_anything_is_trained(tmp_path: Path) -> None:
    methods = ["hidden", "attention", "rail_kd", "cr_ild", "cilda"]
    trainings = [{"method": name, "epochs": 1, "batch": 16} for name in methods]
    spec = recipe(tmp_path, student={"static": {"dim": 16, "from": "random"}}, distill=trainings)
    assert Recipe.parse(yaml.safe_load(Recipe.parse(spec).to_yaml())) == Recipe.parse(spec)
    with pytest.raises(RecipeError) as caught:
        compress(Recipe.parse(spec), tmp_path / "run", until="distill")
    told = {fault.path: fault.message for fault in caught.value.faults}
    assert told.keys() == {f"distill[{at}].method" for at in range(len(methods))}
    assert all(message.startswith(name) for name, message in zip(methods, told.values(), strict=True))
