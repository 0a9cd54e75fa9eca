"""The fixed shapes of files for LiteRT, which requests they hold, and what is said where LiteRT is not installed."""

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Case

from kd2deploy.core import Artifact, Port, Ports, Target, Variant
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters.litert import LitertSession, int8_from_litert, litert_from_torch
from kd2deploy.exporters.litert.sizes import fillable_axes, filled, halves, holds, sizes_of
from kd2deploy.exporters.shapes import port_ranges
from kd2deploy.stages.convert import missing

ALONG = ("batch_size", "length")
MASKED = Ports(
    (Port("ids", "int64", ALONG), Port("attention_mask", "int64", ALONG)), (Port("y", "float32", ("batch_size", 2)),)
)
GROWING = Ports(MASKED.inputs, (Port("y", "float32", ("batch_size", "frames", 2)),))
PICTURES = Ports((Port("pixels", "float32", ("batch_size", 3, "height")),), MASKED.outputs)


@pytest.mark.parametrize(
    ("smallest", "usual", "largest", "found"),
    [
        (1, 20, 128, [16, 32, 64, 128]),
        (1, 128, 128, [64, 128]),
        (1, 5, 9, [3, 5, 9]),
        (100, 120, 128, [128]),
        (1, 1, 1, [1]),
    ],
)
def test_lengths_are_halves_down_to_the_first_below_the_usual(
    smallest: int, usual: int, largest: int, found: list[int]
) -> None:
    assert halves(smallest, usual, largest) == found


def test_a_masked_axis_has_several_sizes_and_the_batch_its_usual_one() -> None:
    ranges = port_ranges(MASKED.inputs, {"batch_size": (1, 4, 32), "length": (1, 9, 16)})
    assert sizes_of(MASKED, ranges) == {
        "batch_size_4_length_8": {"batch_size": 4, "length": 8},
        "batch_size_4_length_16": {"batch_size": 4, "length": 16},
    }


@pytest.mark.parametrize(("ports", "axis"), [(PICTURES, "height"), (GROWING, "length")])
def test_what_cannot_be_filled_up_is_refused_by_name_unless_it_has_one_size(ports: Ports, axis: str) -> None:
    assert not fillable_axes(ports)
    with pytest.raises(ConvertError, match=rf"3 to 9 along {axis}.*\{{{axis}: \[5, 5, 5\]\}}"):
        sizes_of(ports, port_ranges(ports.inputs, {"batch_size": (1, 1, 32), axis: (3, 5, 9)}))
    (only,) = sizes_of(ports, port_ranges(ports.inputs, {"batch_size": (1, 1, 32), axis: (5, 5, 5)})).values()
    assert only == {"batch_size": 1, axis: 5}


def test_a_request_is_held_by_what_is_no_shorter_and_elsewhere_by_its_own_size_alone() -> None:
    ids = np.zeros((7, 5))
    shapes = {"ids": (1, 5), "attention_mask": (1, 5)}
    assert holds(shapes, {"ids": ids, "attention_mask": ids}, MASKED)
    assert holds(shapes, {"ids": ids[:, :3], "attention_mask": ids[:, :3]}, MASKED)
    assert not holds({"ids": (1, 4), "attention_mask": (1, 4)}, {"ids": ids, "attention_mask": ids}, MASKED)
    assert not holds(shapes, {"ids": ids[0], "attention_mask": ids}, MASKED)
    pixels = {"pixels": np.zeros((1, 3, 8))}
    assert holds({"pixels": (1, 3, 8)}, pixels, PICTURES)
    assert not holds({"pixels": (1, 3, 9)}, pixels, PICTURES)


def test_filling_up_adds_zeros_behind_and_takes_the_files_type() -> None:
    found = filled(np.array([[1, 2]], dtype=np.int64), (2, 3), np.int32)
    assert found.dtype == np.int32
    assert found.tolist() == [[1, 2, 0], [0, 0, 0]]
    assert filled(np.array([[1, 2]]), (1, 2), np.int32).tolist() == [[1, 2]]


def test_without_litert_its_variants_are_left_out_and_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, text: Case, tmp_path: Path
) -> None:
    for module in ("ai_edge_litert", "ai_edge_quantizer", "litert_torch"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    remedy = r"pip install 'kd2deploy\[litert\]'"
    assert "ai_edge_litert is not installed; pip install 'kd2deploy[litert]'" in missing(Variant(requires="litert"))
    arguments = text.source, text.task, text.target, tmp_path, text.samples
    with pytest.raises(SessionError, match=remedy):
        litert_from_torch(*arguments)
    with pytest.raises(SessionError, match=remedy):
        LitertSession(Artifact(tmp_path, "", ""), text.task.ports, Target("here", "", "cpu", {}))
    with pytest.raises(ConvertError, match=remedy):
        int8_from_litert(*arguments)


def test_the_converter_is_asked_for_by_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, text: Case, tmp_path: Path
) -> None:
    monkeypatch.setattr("kd2deploy.exporters.litert.convert.runtime", lambda: None)
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(ConvertError, match="pip install --no-deps litert-torch litert-converter"):
        litert_from_torch(text.source, text.task, text.target, tmp_path, text.samples)
