"""What the judge puts into the report, where a figure would mislead."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kd2deploy.core import Artifact, Scores
from kd2deploy.measure.intervals import Interval
from kd2deploy.report import LayerMap
from kd2deploy.stages.telling.distillation import gap_shown
from kd2deploy.stages.telling.origin import layer_map, record
from kd2deploy.stages.telling.plain import plain
from kd2deploy.tasks._class_metric import ClassMetric


def scores(accuracy: float) -> Scores:
    right = (np.arange(100) < 100 * accuracy).astype(np.int64)
    return Scores({"accuracy": accuracy}, {"answers": right}, "the same", right)


@pytest.mark.parametrize(
    ("teacher", "gap", "note"),
    [
        (0.90, Interval(0.5, 0.3, 0.7), ""),
        (0.80, Interval(0.5, 0.3, 0.7), "the teacher is no better than the control"),
        (0.81, Interval(4.5, -math.inf, math.inf), "the teacher is not surely better than the control"),
    ],
)
def test_a_share_of_no_gap_is_not_shown(teacher: float, gap: Interval, note: str) -> None:
    found = gap_shown(gap, scores(teacher), scores(0.80), ClassMetric(("a", "b"), "accuracy"))
    assert found is not None
    assert (found.value is None) == bool(note)
    assert note in found.note


def test_a_networks_size_is_that_of_its_weights(tmp_path: Path) -> None:
    for name, size in (("model.safetensors", 3_000_000), ("tokenizer.json", 9_000_000)):
        (tmp_path / name).write_bytes(bytes(size))
    assert Artifact(tmp_path, "", "").weights_mb == 3.0


def test_every_operation_that_was_left_in_float_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("a graph")
    names = [f"layer.{place}/MatMul" for place in range(8)]
    details = {"excluded": names, "quantized": names, "mode": "static"}
    shown = record("int8", Artifact(tmp_path / "model.onnx", "0", "none", details=details), deployed=True).details
    assert shown["excluded"] == ", ".join(names)
    assert shown["quantized"] == "8: layer.0/MatMul, layer.1/MatMul, layer.2/MatMul, ..."
    assert shown["mode"] == "static"


def test_the_layer_map_shows_every_term_that_compared_layers() -> None:
    started: Any = SimpleNamespace(layer_map=((0, 1),), copied_share=0.5)

    def shown(**maps: list[list[int]]) -> LayerMap | None:
        student: Any = SimpleNamespace(layer_maps=maps)
        return layer_map(started, student)

    assert shown(hidden=[[1, 2]]) == LayerMap("compared by hidden", (("1", "2"),))
    assert shown(a=[[1, 2]], b=[[1, 4]]) == LayerMap("compared by a, b", (("1", "2 (a)"), ("1", "4 (b)")))
    assert shown() == LayerMap("weights copied (50 % of the student)", (("0", "1"),))


def test_what_a_converter_noted_is_told_as_text_and_not_as_a_list_of_python() -> None:
    assert plain({"batch": [1, 16, 64], "sequence": (8, 32)}) == "batch 1 to 16 to 64, sequence 8 to 32"
    assert plain([["a", "b"], "c"]) == "a to b, c"
