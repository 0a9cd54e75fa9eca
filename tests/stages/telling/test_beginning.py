"""What is known before anything is measured."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kd2deploy.report import LayerMap, Report
from kd2deploy.stages.distill import Distilled
from kd2deploy.stages.students import Trainings
from kd2deploy.stages.telling import with_training


def test_how_the_deployed_student_was_trained_is_told() -> None:
    model: Any = SimpleNamespace(folder=Path("student"))
    once: Any = SimpleNamespace(history=[{"epoch": 1.0, "loss": 0.5}])
    student = Distilled("student", 0, model, (once,), {"hidden": [[1, 2]]}, "its own, 200 steps", {})
    taught: Any = SimpleNamespace(trained=None)
    started: Any = SimpleNamespace(layer_map=(), copied_share=0.0, notes=("2 layers were copied",))
    found = with_training(Report("x"), taught, started, Trainings((student,), (), student))
    assert found.generator == "its own, 200 steps"
    assert found.layer_map == LayerMap("compared by hidden", (("1", "2"),))
    assert found.warnings == ("2 layers were copied",)
    assert [(curve.run, len(curve.points)) for curve in found.curves] == [("student, seed 0", 1)]
