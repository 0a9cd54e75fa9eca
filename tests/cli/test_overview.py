"""The dry run: what it looks at, and in which order."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from recipes.small_run import recipe

from kd2deploy.cli.overview import NO_GATES, left_out, overview, rows_shown
from kd2deploy.core import Target, Variant
from kd2deploy.errors import ModelError, RecipeError
from kd2deploy.recipe import Recipe
from kd2deploy.stages.prepare import prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("overview")
    recipe(found)
    return found


def test_networks_are_looked_for_before_the_data_is_read(folder: Path) -> None:
    data = {"use": "files", "train": "none.csv", "eval": "none.csv"}
    teacher, student = {"from": str(folder / "no-teacher")}, {"from": "package:no_student"}
    with pytest.raises(RecipeError) as caught:
        overview(Recipe.parse(recipe(folder, data=data, teacher=teacher, student=student)))
    assert [fault.path for fault in caught.value.faults] == ["teacher.from", "student.from"]


def test_a_teacher_of_other_labels_is_refused(folder: Path) -> None:
    task = {"use": "text_classification", "labels": ["pos", "neg"]}
    found = recipe(folder, teacher={"from": str(folder / "encoder")}, task=task)
    with pytest.raises(RecipeError, match="another order"):
        overview(Recipe.parse(found))
    with pytest.raises(ModelError, match="another order"):
        overview(Recipe.parse({**found, "student": {"plan": {}}}))


def test_methods_are_bound_to_the_networks(folder: Path) -> None:
    distill = [{"method": {"use": "hidden", "layers": [[1, 9]]}}]
    with pytest.raises(RecipeError) as caught:
        overview(Recipe.parse(recipe(folder, distill=distill)))
    (fault,) = caught.value.faults
    assert fault.path == "distill[0].method"
    assert "hidden" in str(fault)


def test_variants_that_cannot_be_made_here_are_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = {"here": {}, "there": {"requires": "no_such_runtime"}}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"name": "mine", "about": "", "device": "cpu", "variants": variants}))
    overview(Recipe.parse(recipe(folder, targets=[str(file)], variants=None))).print()
    told = capsys.readouterr().out
    assert "evaluation: rows cut at 16 tokens: 0.0 %" in told
    assert "left out there: no_such_runtime is not installed" in told
    with pytest.raises(RecipeError, match="mine, there: no_such_runtime is not installed"):
        left_out(Target("mine", "", "cpu", {"there": Variant(requires="no_such_runtime")}))


def test_limits_are_told_with_their_figures_or_said_to_be_none(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"name": "mine", "about": "", "device": "cpu", "variants": {"here": {}}}))
    plain = recipe(folder, targets=[str(file)], variants=None, student={"plan": {}})
    for gates, said in (({}, NO_GATES), ({"max_drop": 0.5}, "gates max_drop 0.5")):
        told = overview(Recipe.parse({**plain, "gates": gates})).stages["target mine"].splitlines()
        assert told[-1] == said


def test_one_epoch_is_no_epochs(folder: Path) -> None:
    fine = {"from": str(folder / "encoder"), "fine_tune": {"epochs": 1, "learning_rate": 1e-3}}
    told = overview(Recipe.parse(recipe(folder, teacher=fine, distill=[{"method": "logit", "epochs": 1}]))).stages
    assert told["teacher"].endswith("fine-tuned for 1 epoch")
    assert told["distill"] == "logit, 1 epoch, seed 0"


def test_the_whole_time_is_estimated_from_steps_of_the_real_networks(folder: Path) -> None:
    found = recipe(folder, distill=[{"method": "logit", "epochs": 4, "batch": 16}], seeds=[0, 1])
    told = overview(Recipe.parse(found)).stages["time"].splitlines()
    assert told[0].startswith("about ")
    assert "estimated" in told[0]
    trained, files = ["teacher: ", "distill: ", "control: "], ["export cpu: ", "export cpu, the teacher: "]
    starts = [*trained, *files, "measure cpu: ", "not counted: reading"]
    assert [line.startswith(start) for line, start in zip(told[1:], starts, strict=True)] == [True] * 7
    assert "; 36 steps of " in told[1]
    assert "2 seeds, each 36 steps of " in told[2]
    assert "the teacher's answers once" in told[2]
    assert "2 seeds, each 36 steps of " in told[3]
    assert "at most 4 contenders of 2.4 s, 20 processes" in told[6]


def test_a_plans_trainings_are_said_not_to_be_estimated(folder: Path) -> None:
    told = overview(Recipe.parse(recipe(folder, student={"plan": {}}))).stages["time"]
    assert "not counted: the plan and all trainings" in told


def regression(folder: Path, **changes: Any) -> dict[str, Any]:
    """The recipe on rows whose label is a number."""
    file = folder / "numbers.csv"
    file.write_text("sentence,label\n" + "".join(f"the film is good {at},{at / 10}\n" for at in range(40)))
    data = {"use": "files", "train": str(file), "eval": str(file), "text": "sentence", "label": "label"}
    return recipe(folder, data=data, task={"use": "text_classification", "labels": [], "max_length": 16}, **changes)


def test_a_regression_has_no_labels_to_count(folder: Path) -> None:
    task, splits, about = prepare(Recipe.parse(regression(folder)))
    assert "label" not in rows_shown(task, splits, about)
    task, splits, about = prepare(Recipe.parse(recipe(folder)))
    assert "; 2 labels; metric accuracy" in rows_shown(task, splits, about)


def test_a_regression_is_not_held_to_the_recall_of_classes(folder: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        prepare(Recipe.parse(regression(folder, gates={"max_drop": 0.02, "max_class_drop": 0.05})))
    (fault,) = caught.value.faults
    assert str(fault).startswith("gates.max_class_drop")
    assert "this task has none" in fault.message
