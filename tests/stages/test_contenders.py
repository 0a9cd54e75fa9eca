"""Who a run measures, with which role and seed, and what is timed."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stages.small_field import TASK

from kd2deploy.core import Artifact, Target, Variant
from kd2deploy.core.tried import Tried
from kd2deploy.errors import ConvertError
from kd2deploy.stages import contenders as made
from kd2deploy.stages.contenders import contenders, ways
from kd2deploy.stages.convert import Exported
from kd2deploy.stages.distill import Distilled
from kd2deploy.stages.export import Exports
from kd2deploy.stages.field import Field
from kd2deploy.stages.job import Model
from kd2deploy.stages.students import Trainings
from kd2deploy.stages.teacher import Taught

JOB: Any = SimpleNamespace(answers=None)
TARGET = Target("cpu", "", "cpu", {"onnx": Variant(), "int8": Variant()})


def model(name: str) -> Model:
    return Model(Path(name), name, TASK)


def distilled(role: Any, seed: int) -> Distilled:
    return Distilled(role, seed, model(f"{role}-{seed}"), (), {}, "", {})


def artifact(name: str) -> Artifact:
    return Artifact(Path(name), name, "session", made_by=f"exporters.{name}_from_onnx")


STUDENTS = tuple(distilled("student", seed) for seed in (0, 1))
CONTROLS = tuple(distilled("control", seed) for seed in (0, 1))
FP32, FUSED, INT8 = map(artifact, ("fp32", "fused", "int8"))
EXPORTS = Exports(
    {
        "onnx": Exported("onnx", (FP32,), FP32),
        "int8": Exported("int8", (FP32, FUSED, INT8), INT8),
    },
    {},
    chosen="int8",
    why="",
)


def field(teacher: Model | None, apart: Model | None = None, exports: Exports = EXPORTS) -> Field:
    return contenders(JOB, Taught(teacher, apart), Trainings(STUDENTS, CONTROLS, STUDENTS[1]), exports, TARGET)


@pytest.fixture
def unmade(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> Exported:
        raise ConvertError("no such operator")

    for name in ("export_one", "export"):
        monkeypatch.setattr(made, name, refused)


@pytest.mark.usefixtures("unmade")
def test_every_network_and_file_has_its_role_and_seed() -> None:
    found = field(model("teacher"))
    assert {(one.name, one.role, one.seed, one.timed) for one in found.entries} == {
        ("teacher (eager)", "teacher", None, True),
        ("student (eager)", "student", 1, True),
        ("student (seed 0)", "student", 0, False),
        ("control", "control", 1, False),
        ("control (seed 0)", "control", 0, False),
        ("onnx", "variant", 1, True),
        ("int8", "variant", 1, True),
        ("int8 / fused_from_onnx", "link", 1, False),
    }
    assert found.deployed.name == "int8"
    assert [one.name for one in found.links] == ["onnx", "int8 / fused_from_onnx"]
    assert found.failure("teacher_same_runtime") == ("teacher (int8)", "no such operator")


@pytest.mark.usefixtures("unmade")
def test_without_a_teacher_the_baseline_stands_in_its_place() -> None:
    found = field(None, model("baseline"))
    assert found.one("teacher") is None
    baseline = found.baseline("eager")
    assert baseline is not None
    assert (baseline.name, baseline.role, baseline.timed) == ("baseline (eager)", "baseline", True)
    assert found.failure("baseline_same_runtime") == ("baseline (int8)", "no such operator")
    assert found.student.model is STUDENTS[1].model
    assert set(found.by_seed("control")) == {0, 1}


@pytest.mark.usefixtures("unmade")
def test_a_teacher_beside_a_baseline_is_scored_and_not_timed() -> None:
    found = field(model("teacher"), model("baseline"))
    teacher, baseline = found.one("teacher"), found.baseline("eager")
    assert teacher is not None
    assert baseline is not None
    assert (teacher.timed, baseline.role, baseline.timed) == (False, "baseline", True)
    assert found.failure("teacher_same_runtime") is None


@pytest.mark.usefixtures("unmade")
def test_a_variant_that_the_choice_has_dropped_is_scored_and_not_timed() -> None:
    exports = replace(EXPORTS, tried=(Tried("onnx", "slower"), Tried("int8", "deployed")))
    found = {one.name: one.timed for one in field(model("teacher"), exports=exports).entries if one.role == "variant"}
    assert found == {"onnx": False, "int8": True}


def exported_as(monkeypatch: pytest.MonkeyPatch, best: str, **medians: float) -> list[str]:
    """The teacher's files by their quick medians, with the best of them; the names of those that are asked for."""
    asked: list[str] = []

    def found(job: object, network: Model, target: Target, who: str) -> Exports:
        asked.extend(target.variants)
        files = {name: artifact(f"{who} as {name}") for name in medians}
        variants = {name: Exported(name, (one,), one, median_ms=medians[name]) for name, one in files.items()}
        left_out = dict.fromkeys(target.variants.keys() - medians.keys(), "no such operator")
        return Exports(variants, left_out, best, "")

    monkeypatch.setattr(made, "export", found)
    return asked


def test_the_teachers_own_best_file_is_one_more_contender(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = exported_as(monkeypatch, "onnx", onnx=8.0, int8=9.0)
    found = field(model("teacher"))
    assert asked == ["int8", "onnx"]
    same, best = found.baseline("same_runtime"), found.baseline("best_file")
    assert same is not None
    assert best is not None
    assert (same.name, same.role) == ("teacher (int8)", "teacher_same_runtime")
    assert (best.name, best.role, best.timed) == ("teacher (onnx)", "teacher_best_file", True)
    assert best.artifact.sha256 == "teacher as onnx"


def test_the_same_runtime_may_be_the_teachers_best(monkeypatch: pytest.MonkeyPatch) -> None:
    exported_as(monkeypatch, "int8", onnx=9.0, int8=8.0)
    found = field(None, model("baseline"))
    assert found.baseline("best_file") is found.baseline("same_runtime")
    assert not [one for one in found.entries if one.role == "baseline_best_file"]


def test_what_the_teacher_cannot_be_deployed_as_leaves_its_best_file(monkeypatch: pytest.MonkeyPatch) -> None:
    exported_as(monkeypatch, "onnx", onnx=8.0)
    found = field(model("teacher"))
    assert found.failure("teacher_same_runtime") == ("teacher (int8)", "no such operator")
    best = found.baseline("best_file")
    assert best is not None
    assert best.name == "teacher (onnx)"


def test_the_teacher_is_tried_as_the_students_quickest_files_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    medians = {"e": None, "d": 4.0, "c": 3.0, "b": 2.0, "a": 1.0}
    variants = {name: Exported(name, (FP32,), FP32, median_ms=ms) for name, ms in medians.items()}
    target = Target("cpu", "", "cpu", {name: Variant(teacher=name != "b") for name in medians})
    assert ways(Exports(variants, {}, "d", ""), target) == ["d", "a", "c"]
    assert ways(Exports(variants, {}, "b", ""), target) == ["a", "c", "d"], "the target says that this makes no sense"
    assert ways(Exports({"d": variants["d"]}, {}, "d", ""), target) == ["d"]
