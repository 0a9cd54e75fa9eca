"""A student of several networks: exported as one file, measured, judged and bundled as it is; and trained."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from recipes.asked import check_answers
from recipes.small_run import recipe, write_rows
from several import answers, save_pair
from tiny_models import save_encoder

from kd2deploy.cli.overview import overview
from kd2deploy.core import build_task
from kd2deploy.core.members import members_in
from kd2deploy.errors import ModelError, RecipeError
from kd2deploy.exporters.bundle import verify_sums
from kd2deploy.flows.compare import compare
from kd2deploy.flows.compress import Result, compress
from kd2deploy.networks.weights import parameters_of
from kd2deploy.recipe import Recipe


def spec_of(folder: Path, **changes: Any) -> dict[str, Any]:
    """A pair of networks under a finished teacher; nothing is trained."""
    save_pair(folder / "pair", combine="mean_probability")
    teacher = save_encoder(folder / "teacher", labels=["neg", "pos"], layers=4, hidden=32)
    finished = {"teacher": {"from": str(teacher)}, "student": {"from": str(folder / "pair")}, "distill": []}
    return recipe(folder, **{**finished, "gates": {"max_drop": 1.0}, **changes})


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("several")
    target = {"name": "here", "about": "this machine", "device": "cpu"}
    onnx = {"steps": [{"use": "onnx_from_torch"}], "teacher": False}
    (folder / "here.yaml").write_text(yaml.safe_dump({**target, "variants": {"onnx": onnx}}))
    quick = {"processes": 3, "cap_s": 1, "block_s": 0.02}
    spec = spec_of(folder, measurement=quick, targets=[str(folder / "here.yaml")])
    write_rows(folder / "eval.csv", 40, seed=1)
    (found,) = compress(Recipe.parse(spec), folder / "run")
    return found


@pytest.mark.recipe
def test_a_finished_pair_is_measured_and_judged_and_no_control_is_trained(result: Result) -> None:
    report = result.report
    assert report.verdict is not None
    assert report.verdict.outcome == "PASS"
    assert {one.role for one in report.contenders} == {"teacher", "student", "variant"}
    assert report.distillation is not None
    assert "Nothing was trained" in report.distillation.sentence
    assert report.curves == ()
    assert [stage.name for stage in report.stages if "seed" in stage.name] == []
    assert report.protocol["networks of the student"] == "mean probability: 1 of a, 1 of b"
    student = next(one for one in report.contenders if one.role == "student")
    (place,) = result.students
    assert student.parameters == parameters_of(place) == parameters_of(place / "a") + parameters_of(place / "b")
    page = (result.folder / "report.html").read_text()
    assert "Nothing was trained" in page
    assert "Student against the control" not in page


@pytest.mark.recipe
def test_its_bundle_is_whole_and_gives_the_answers_of_the_report(result: Result) -> None:
    bundle = result.bundle
    assert bundle is not None
    verify_sums(bundle)
    assert members_in(bundle) == members_in(result.students[0])
    assert json.loads((bundle / "config.json").read_text())["id2label"] == {"0": "neg", "1": "pos"}
    assert sorted(file.name for file in bundle.glob("*/model.onnx")) == ["model.onnx"]
    check_answers(result)


@pytest.mark.recipe
def test_a_pair_learns_from_logits_and_stays_a_pair(tmp_path: Path) -> None:
    training = {"method": "logit", "epochs": 1, "batch": 32, "learning_rate": 5e-3}
    spec = spec_of(tmp_path, distill=[training], control=False)
    (found,) = compress(Recipe.parse(spec), tmp_path / "run", until="distill")
    (place,) = found.students
    task = build_task({"use": "text_classification", "labels": ["neg", "pos"]}).at(tmp_path / "pair")
    assert members_in(place) == members_in(tmp_path / "pair")
    before, after = (answers(task, folder)[1] for folder in (tmp_path / "pair", place))
    assert not torch.allclose(before, after)
    assert (place / "tokenizer.json").is_file()


@pytest.mark.recipe
def test_a_pair_cut_out_of_its_teacher_learns_in_stages_and_at_once_and_costs_no_more_than_one(tmp_path: Path) -> None:
    short = {"batch": 16, "learning_rate": 5e-3}
    stages = {
        "student": {"epochs": 1, "keep": "last"},
        "assistant": {"epochs": 1, "keep": "last"},
        "both": {"epochs": 3},
    }
    distill = [{"method": {"use": "residual_kd", "learns": who}, **short, **how} for who, how in stages.items()]
    members = [{"shrink": {"layers": 2, "hidden": 16}}, {"shrink": {"layers": 1, "hidden": 8}}]
    student = {"members": members, "combine": "sum", "budget": {"layers": 3, "hidden": 24}}
    spec = spec_of(tmp_path, student=student, distill=distill, control=False)
    (found,) = compress(Recipe.parse(spec), tmp_path / "run", until="distill")
    (place,) = found.students
    how = members_in(place)
    assert how is not None
    assert (how.names, how.combine) == (("network-1", "network-2"), "sum")
    told = next(text for text in found.report.warnings if "the one network of `budget` has" in text)
    assert f"the student's 2 networks have {parameters_of(place):,} parameters" in told
    (curve,) = (one for one in found.report.curves if one.role == "student")
    terms = [set(point.losses) - {"loss"} for point in curve.points]
    assert terms == [{"own", "features"}, {"task", "residual"}, *[{"own", "features", "task", "residual"}] * 3]
    score = curve.points[-1].score
    assert score is not None
    assert score > 0.85, "of two classes, by rows that it did not learn from"
    spec["student"]["budget"] = {"layers": 1, "hidden": 16}
    with pytest.raises(ModelError, match=r"student\.members: .* make a member smaller"):
        compress(Recipe.parse(spec), tmp_path / "again", until="distill")


@pytest.mark.recipe
def test_methods_that_read_the_inside_are_refused_by_name_before_anything_is_trained(tmp_path: Path) -> None:
    methods = ["hidden", "attention", "contrastive", "rail_kd", "mate_kd", "mix_kd", "backward_kd", "cr_ild", "cilda"]
    trainings = [{"method": name, "epochs": 1, "batch": 16} for name in methods]
    with pytest.raises(RecipeError) as caught:
        compress(Recipe.parse(spec_of(tmp_path, distill=trainings)), tmp_path / "run", until="distill")
    told = {fault.path: fault.message for fault in caught.value.faults}
    assert told.keys() == {f"distill[{at}].method" for at in range(len(methods))}
    assert all(told[f"distill[{at}].method"].startswith(name) for at, name in enumerate(methods))
    assert list((tmp_path / "run" / "stages").iterdir()) == []


@pytest.mark.recipe
def test_a_dry_run_says_that_nothing_is_trained(tmp_path: Path) -> None:
    stages = overview(Recipe.parse(spec_of(tmp_path))).stages
    assert stages["distill"] == "nothing: the student is finished, and taken as it is"
    assert stages["control"] == "none"
    assert "distill" not in stages["time"]


def test_a_comparison_needs_trainings(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a comparison trains as long as the recipe does"):
        compare(Recipe.parse(spec_of(tmp_path)), tmp_path / "run")
