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
from kd2deploy.stages.contenders import contenders
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

    monkeypatch.setattr(made, "export_one", refused)


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
