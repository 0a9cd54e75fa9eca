"""What an engine is made from, on the processor: casts, fp8 pairs, shapes, cache keys, and what is refused."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import Case
from onnx.reference import ReferenceEvaluator

from kd2deploy.core import Artifact, made
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters.onnx import fp16_from_onnx, onnx_from_torch
from kd2deploy.exporters.onnx.casts import cast_to_half, only_in_half
from kd2deploy.exporters.onnx.checking import damage, run_all
from kd2deploy.exporters.onnx.files import save
from kd2deploy.exporters.onnx.half import rank_half_sensitivity
from kd2deploy.exporters.quantize import Int8, int8_from_onnx
from kd2deploy.exporters.shapes import ShapeRange, axis_ranges, outside, refuse_outside, shape_ranges, usual_request
from kd2deploy.exporters.tensorrt import TensorRTSession, fp8_from_onnx, trt_from_onnx
from kd2deploy.exporters.tensorrt.api import Built, Settings
from kd2deploy.exporters.tensorrt.engine import Engine
from kd2deploy.exporters.tensorrt.graph import pair_type, unreadable
from kd2deploy.exporters.tensorrt.store import Place, Store, engine_key

HERE = Place("tensorrt", "11.4.0.106", "NVIDIA L4", "8.9", "580.10.1")


# casts ------------------------------------------------------------------------------------------------------


def test_fp16_keeps_the_answers_and_leaves_out_what_is_excluded(text: Case, plain: Artifact, tmp_path: Path) -> None:
    model = onnx.load(plain.path)
    name = next(node.name for node in model.graph.node if node.op_type == "MatMul")
    cast = cast_to_half(model, "fp16", [name])
    save(cast, tmp_path / "model.onnx", {})
    reference = run_all(plain.path, text.task, text.target, text.samples)
    found = run_all(tmp_path / "model.onnx", text.task, text.target, text.samples)
    for one, other in zip(reference, found, strict=True):
        assert other["logits"].dtype == np.float32
        np.testing.assert_allclose(one["logits"], other["logits"], rtol=0.03, atol=0.03)
    fp16 = {tensor.name for tensor in cast.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    kept = next(node for node in cast.graph.node if node.name == name)
    assert kept.input[1] not in fp16
    assert len(fp16) > 10


def test_bf16_weights_are_rounded_once_from_fp32(image: Case, plain_image: Artifact) -> None:
    model = onnx.load(plain_image.path)
    cast = cast_to_half(model, "bf16")
    types = {tensor.data_type for tensor in cast.graph.initializer}
    assert onnx.TensorProto.BFLOAT16 in types
    assert onnx.TensorProto.FLOAT16 not in types
    # Never by way of fp16, which has another range.
    originals = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for tensor in cast.graph.initializer:
        if tensor.data_type == onnx.TensorProto.BFLOAT16:
            rounded = torch.from_numpy(originals[tensor.name].copy()).bfloat16().float().numpy()
            np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor).astype(np.float32), rounded)


def test_bf16_graphs_run_in_the_reference_evaluator(text: Case, plain: Artifact) -> None:
    model = onnx.load(plain.path)
    feed = dict(text.samples[0])
    (expected,) = ReferenceEvaluator(model).run(None, feed)  # type: ignore[misc]
    (found,) = ReferenceEvaluator(cast_to_half(model, "bf16")).run(None, feed)  # type: ignore[misc]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=0.1 * np.abs(expected).max())
    assert not np.array_equal(found, expected)


def test_a_name_that_is_not_in_the_graph_cannot_be_excluded(plain: Artifact) -> None:
    with pytest.raises(ConvertError, match=r"exclude names \['nowhere'\]"):
        cast_to_half(onnx.load(plain.path), "fp16", ["nowhere"])


def test_the_node_that_overflows_in_fp16_is_found_and_leaving_it_out_mends_the_answers(
    text: Case, plain: Artifact, tmp_path: Path
) -> None:
    model = onnx.load(plain.path)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in held]
    large = products[-1]
    weight = onnx.numpy_helper.to_array(held[large.input[1]])
    held[large.input[1]].CopyFrom(onnx.numpy_helper.from_array(weight * np.float32(1e6), large.input[1]))
    save(model, tmp_path / "model.onnx", {})
    source = made(tmp_path / "model.onnx", plain.opened_by)
    inputs = text.task, text.target
    ranked = rank_half_sensitivity(source, *inputs, text.samples)
    # The product itself, and the normalization that reads it: everything else is a thousand times better.
    worst = [name for name, _ in ranked[:2]]
    assert large.name in worst
    assert ranked[1][1] > 100 * ranked[2][1]
    reference = run_all(source.path, *inputs, text.samples)
    damages = []
    for exclude in ([], worst):
        save(cast_to_half(model, "fp16", exclude), tmp_path / "half.onnx", {})
        damages.append(damage(reference, run_all(tmp_path / "half.onnx", *inputs, text.samples)))
    assert damages[0] > 0.1
    assert damages[1] < 0.01


def test_bf16_of_one_node_is_imitated_where_the_processor_has_no_kernels(
    text: Case, plain: Artifact, tmp_path: Path
) -> None:
    model = onnx.load(plain.path)
    name = next(node.name for node in model.graph.node if node.op_type == "MatMul")
    alone = cast_to_half(model, "bf16", [node.name for node in model.graph.node if node.name != name])
    save(only_in_half(model, "bf16", name), tmp_path / "model.onnx", {})
    feed = dict(text.samples[0])
    (exact,) = ReferenceEvaluator(model).run(None, feed)  # type: ignore[misc]
    (expected,) = ReferenceEvaluator(alone).run(None, feed)  # type: ignore[misc]
    found = run_all(tmp_path / "model.onnx", text.task, text.target, [feed])[0]["logits"]
    lost = float(np.abs(expected - exact).max())
    assert lost > 0
    assert float(np.abs(found - exact).max()) == pytest.approx(lost, rel=1)


# fp8 --------------------------------------------------------------------------------------------------------


def test_fp8_pairs_keep_the_answers(text: Case, plain: Artifact, tmp_path: Path) -> None:
    pairs = fp8_from_onnx(plain, text.task, text.target, tmp_path, text.samples)
    assert pairs.precision == "fp8"
    assert pairs.details["agreement"]["cosine"] > 0.98
    model = onnx.load(pairs.path)
    assert pair_type(model) == "fp8"
    assert unreadable(model) == ""
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    originals = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(plain.path).graph.initializer}
    weights = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in held]
    assert len(weights) == len(pairs.details["quantized"])
    for node in weights:
        weight = onnx.numpy_helper.to_array(held[node.input[0]]).astype(np.float32)
        scale = onnx.numpy_helper.to_array(held[node.input[1]])
        original = originals[node.input[0].removesuffix("_quantized")]
        # e4m3 has 3 bits of mantissa: half a unit in the last place is a sixteenth, and less only near zero.
        axis = next(attribute.i for attribute in node.attribute if attribute.name == "axis") if scale.ndim else 0
        wide = scale.reshape([-1 if place == axis else 1 for place in range(weight.ndim)]) if scale.ndim else scale
        np.testing.assert_allclose(weight * wide, original, rtol=1 / 16, atol=float(scale.max()) * 2**-9)
        assert np.abs(weight).max() == 448


def test_fp8_leaves_out_what_is_excluded(text: Case, plain: Artifact, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    every = fp8_from_onnx(plain, text.task, text.target, tmp_path, text.samples).details["quantized"]
    pairs = fp8_from_onnx(plain, text.task, text.target, tmp_path / "one", text.samples, exclude=every[:2])
    assert pairs.details["quantized"] == every[2:]
    with pytest.raises(ConvertError, match="all are excluded"):
        fp8_from_onnx(plain, text.task, text.target, tmp_path, text.samples, exclude=every)


# what is refused --------------------------------------------------------------------------------------------


def test_plain_and_symmetric_graphs_are_readable(text: Case, plain: Artifact, tmp_path: Path) -> None:
    assert unreadable(onnx.load(plain.path)) == ""
    pairs = int8_from_onnx(
        plain,
        text.task,
        text.target,
        tmp_path,
        text.samples,
        options=Int8(mode="static", layout="tensorrt", reduce_range=False),
    )
    assert unreadable(onnx.load(pairs.path)) == ""
    assert pair_type(onnx.load(pairs.path)) == "int8"
    assert pair_type(onnx.load(plain.path)) == ""


def test_graphs_for_other_runtimes_are_refused_with_the_remedy(
    text: Case, plain: Artifact, fused: Artifact, image: Case, plain_image: Artifact, tmp_path: Path
) -> None:
    assert "convert the plain export" in unreadable(onnx.load(fused.path))
    dynamic = int8_from_onnx(plain, text.task, text.target, tmp_path, text.samples)
    assert "layout: tensorrt" in unreadable(onnx.load(dynamic.path))
    static = int8_from_onnx(plain_image, image.task, image.target, tmp_path, image.samples, options=Int8(mode="static"))
    said = unreadable(onnx.load(static.path))
    assert "layout: tensorrt" in said
    model = onnx.load(plain.path)
    model.opset_import[0].version = 23
    assert "opset: 20" in unreadable(model)


def test_an_engine_is_refused_where_there_is_no_device(text: Case, plain: Artifact, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a device is here")
    with pytest.raises(ConvertError, match=r"builds an engine on its device.*finish.py"):
        trt_from_onnx(plain, text.task, text.target, tmp_path, text.samples)
    engine = tmp_path / "model.engine"
    engine.write_bytes(b"engine")
    details = {"place": dataclasses.asdict(HERE), "library": "tensorrt"}
    artifact = Artifact(engine, "", "kd2deploy.exporters.tensorrt.TensorRTSession", details=details)
    with pytest.raises(SessionError, match="PyTorch sees none here"):
        TensorRTSession(artifact, text.task.ports, text.target)


def test_a_missing_library_is_a_fault_of_the_conversion(
    text: Case, plain: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ConvertError, match=r"tensorrt cannot be loaded.*pip install 'kd2deploy\[tensorrt\]'"):
        trt_from_onnx(plain, text.task, text.target, tmp_path, text.samples, options=Engine(compute_capability="8.9"))


def test_an_engine_of_unknown_origin_is_refused(text: Case, plain: Artifact) -> None:
    with pytest.raises(SessionError, match="does not say what it was built for"):
        TensorRTSession(plain, text.task.ports, text.target)


def test_a_graph_that_is_cast_already_is_not_cast_again(text: Case, plain: Artifact, tmp_path: Path) -> None:
    half = fp16_from_onnx(plain, text.task, text.target, tmp_path, text.samples)
    with pytest.raises(ConvertError, match="is fp16 already"):
        trt_from_onnx(half, text.task, text.target, tmp_path, text.samples, options=Engine(precision="bf16"))
    with pytest.raises(ConvertError, match=r"exclude names nodes that stay in fp32.*as_is"):
        trt_from_onnx(half, text.task, text.target, tmp_path, text.samples, options=Engine(exclude=["net"]))
    with pytest.raises(ConvertError, match="builds must be positive"):
        trt_from_onnx(half, text.task, text.target, tmp_path, text.samples, options=Engine(builds=0))


def test_opset_23_is_refused_before_the_library_is_asked(text: Case, tmp_path: Path) -> None:
    newest = onnx_from_torch(text.source, text.task, text.target, tmp_path, text.samples, opset=23)
    with pytest.raises(ConvertError, match="it is of opset 23; export it with opset: 20"):
        trt_from_onnx(newest, text.task, text.target, tmp_path, text.samples)


# shapes -----------------------------------------------------------------------------------------------------


def test_shapes_cover_the_rows_seen_the_workload_and_scoring(text: Case) -> None:
    lengths = sorted(feed["input_ids"].shape[1] for feed in text.samples)
    found = shape_ranges(text.task, text.samples, batch=4)["input_ids"]
    assert found.smallest == (1, 1)
    assert found.usual == (4, lengths[(len(lengths) - 1) // 2])
    assert found.largest == (32, 32), "the scoring batch, and the task's max_length"
    assert shape_ranges(text.task, text.samples, batch=64)["input_ids"].largest[0] == 64


def test_fixed_axes_stay_and_unbounded_ones_get_headroom(image: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shape_ranges(image.task, image.samples, 8)["pixel_values"] == ShapeRange(
        (1, 1, 32, 32), (8, 1, 32, 32), (32, 1, 32, 32)
    )
    port = dataclasses.replace(image.task.inputs[0], axes=("batch_size", 1, "height", 32))
    monkeypatch.setattr(image.task, "inputs", (port,))
    found = shape_ranges(image.task, image.samples, 8)["pixel_values"]
    assert (found.smallest[2], found.usual[2], found.largest[2]) == (16, 32, 64)


def test_shapes_can_be_given_and_are_checked(text: Case) -> None:
    given = shape_ranges(text.task, text.samples, 1, {"sequence_length": [8, 64, 128], "batch_size": [1, 1, 1]})
    assert given["input_ids"] == ShapeRange((1, 8), (1, 64), (1, 128))
    with pytest.raises(ConvertError, match=r"shapes.sequence_length must be \[smallest, usual, largest\]"):
        shape_ranges(text.task, text.samples, 1, {"sequence_length": [8, 4, 128]})
    with pytest.raises(ConvertError, match=r"shapes names \['length'\].*sequence_length"):
        shape_ranges(text.task, text.samples, 1, {"length": [1, 2, 3]})
    with pytest.raises(ConvertError, match="at least one"):
        shape_ranges(text.task, [], 1)


def test_inputs_outside_of_the_range_are_refused_with_the_remedy() -> None:
    ranges = {"x": ShapeRange((1, 4), (2, 8), (4, 16))}
    assert outside({"x": np.zeros((4, 16))}, ranges) == ""
    for shape in ((5, 8), (1, 3), (1, 17), (1, 8, 1)):
        with pytest.raises(SessionError, match="set shapes of the variant's last step"):
            refuse_outside({"x": np.zeros(shape)}, ranges)


def test_the_usual_shape_is_that_of_the_requests_and_the_bounds_hold_the_rest_too(
    text: Case, image: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = sorted(feed["input_ids"].shape[1] for feed in text.samples)
    longest = {name: np.ones((8, 30), dtype=array.dtype) for name, array in text.samples[0].items()}
    found = axis_ranges(text.task, text.samples, 1, [longest] * 20)
    assert found["sequence_length"] == (1, lengths[(len(lengths) - 1) // 2], 32)
    port = dataclasses.replace(image.task.inputs[0], axes=("batch_size", 1, "height", 32))
    monkeypatch.setattr(image.task, "inputs", (port,))
    tall = {"pixel_values": np.zeros((1, 1, 100, 32))}
    assert axis_ranges(image.task, image.samples, 1, [tall])["height"] == (16, 32, 200)


def test_a_request_of_the_usual_shape_is_cut_or_repeated_from_a_real_one() -> None:
    ranges = {"x": ShapeRange((1, 1), (1, 5), (8, 8)), "y": ShapeRange((1, 2), (3, 2), (8, 2))}
    found = usual_request({"x": np.array([[1, 2, 3], [4, 5, 6]]), "y": np.array([[7, 8], [9, 10]])}, ranges)
    np.testing.assert_array_equal(found["x"], [[1, 2, 3, 1, 2]])
    np.testing.assert_array_equal(found["y"], [[7, 8], [9, 10], [7, 8]])


# cache ------------------------------------------------------------------------------------------------------


def changed(**fields: Any) -> Place:
    return dataclasses.replace(HERE, **fields)


@pytest.mark.parametrize(
    "other",
    [
        changed(version="11.5.0"),
        changed(device="NVIDIA H100"),
        changed(driver="581.1"),
        changed(library="tensorrt_rtx"),
    ],
)
def test_an_engine_of_another_library_driver_or_device_is_stale(other: Place) -> None:
    assert HERE.mismatch(other)
    assert HERE.mismatch(HERE) == ""
    assert HERE.digest != other.digest
    shapes, settings = {"x": ShapeRange((1,), (2,), (3,))}, Settings()
    assert engine_key(b"graph", HERE, shapes, settings) != engine_key(b"graph", other, shapes, settings)


def test_an_engine_for_a_kind_of_device_fits_every_device_of_the_kind() -> None:
    kind = Place("tensorrt", "11.4.0.106", "", "8.9", "")
    assert kind.mismatch(HERE) == ""
    assert kind.mismatch(changed(compute_capability="9.0")) == "compute capability was 8.9, is 9.0"


def test_the_key_changes_with_graph_shapes_and_settings() -> None:
    shapes, settings = {"x": ShapeRange((1,), (2,), (3,))}, Settings()
    keys = {
        engine_key(b"graph", HERE, shapes, settings),
        engine_key(b"other", HERE, shapes, settings),
        engine_key(b"graph", HERE, {"x": ShapeRange((1,), (2,), (4,))}, settings),
        engine_key(b"graph", HERE, shapes, Settings(optimization_level=5)),
        engine_key(b"graph", HERE, shapes, Settings(frozenset({"FP16"}))),
    }
    assert len(keys) == 5
    assert engine_key(b"graph", HERE, shapes, settings) == engine_key(b"graph", HERE, dict(shapes), Settings())


def test_a_kept_engine_is_found_again_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", HERE)
    assert store.engine("key") is None
    store.keep("key", b"engine", {"seconds": 1.0})
    assert store.engine("key") == (b"engine", {"seconds": 1.0})
    (tmp_path / "cache" / "key.engine").write_bytes(b"other")
    with pytest.raises(ConvertError, match="is not the engine that was kept"):
        store.engine("key")


def test_timings_belong_to_one_device(tmp_path: Path) -> None:
    Store(tmp_path, HERE).keep_timings(b"timings")
    assert Store(tmp_path, HERE).timings() == b"timings"
    assert Store(tmp_path, changed(device="NVIDIA H100")).timings() == b""
    nowhere = Store(None, HERE)
    nowhere.keep_timings(b"timings")
    nowhere.keep("key", b"engine", {})
    assert nowhere.timings() == b""
    assert nowhere.engine("key") is None


def test_build_facts_keep_time_and_memory_apart() -> None:
    facts = Built(b"12345", 1.5, 700.0, 12, b"", ("slow",)).facts()
    assert facts == {"seconds": 1.5, "host_peak_mb": 700.0, "engine_mb": 0.0, "layers": 12, "warnings": ["slow"]}
