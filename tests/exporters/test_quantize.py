"""Quantization of plain, fused and convolutional graphs, and the ranking of what it damages."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import Case
from damage import with_weights
from tiny_models import save_encoder, save_image_net

from kd2deploy.core import Artifact, Target, made
from kd2deploy.errors import ConvertError
from kd2deploy.exporters import quantize
from kd2deploy.exporters.onnx import fused_from_onnx, onnx_from_torch
from kd2deploy.exporters.onnx.attention import has_bias
from kd2deploy.exporters.onnx.checking import damage, run_all
from kd2deploy.exporters.quantize import Int8, int8_from_onnx, quantizable_nodes, rank_sensitivity
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification

QUERY = "net.bert.encoder.layer.0.attention.self.query/MatMul"


def test_dynamic_int8_replaces_every_chosen_operation(text: Case, plain: Artifact, tmp_path: Path) -> None:
    found = int8_from_onnx(plain, text.task, text.target, tmp_path, text.samples)
    assert found.precision == "int8"
    assert found.details["operations"] == {"MatMulInteger": len(found.details["quantized"])} == {"MatMulInteger": 12}
    assert found.details["agreement"]["cosine"] > 0.99
    assert found.details["domains"] == ["ai.onnx"], "it runs outside ONNX Runtime too"


def test_a_traced_graph_is_quantized_for_any_batch_and_length(text: Case, tmp_path: Path) -> None:
    for name in ("traced", "int8"):
        (tmp_path / name).mkdir()
    source = onnx_from_torch(
        text.source, text.task, text.target, tmp_path / "traced", text.samples, route="torchscript"
    )
    options = Int8(per_channel=False)
    found = int8_from_onnx(source, text.task, text.target, tmp_path / "int8", text.samples, options=options)
    assert found.details["operations"] == {"MatMulInteger": 12}
    assert found.details["domains"] == ["ai.onnx"]
    rows = [{"text": "a good film is not slow " * 2, "label": None}, *({"text": "dull", "label": None},) * 4]
    feed = text.task.reader.feed(text.task.reader.encode(rows, text.source.path))
    assert feed["input_ids"].shape[0] == 5
    exact, rounded = (run_all(one.path, text.task, text.target, [feed])[0]["logits"] for one in (source, found))
    np.testing.assert_allclose(rounded, exact, atol=0.1 * float(np.abs(exact).max()))


def test_a_fused_attention_of_a_wide_network_has_a_weight_to_quantize(target: Target, tmp_path: Path) -> None:
    """Its three weights, put side by side, are more than onnxscript folds by itself."""
    folder = save_encoder(tmp_path / "wide", "bert", layers=1, hidden=96)
    task = TextClassification(labels=["neg", "pos"], max_length=32).at(folder)
    rows = [{"text": words, "label": None} for words in ("a good film", "the plot was dull", "very slow")]
    samples = [task.reader.feed([row]) for row in task.reader.encode(rows, folder)]
    for name in ("onnx", "fused", "int8"):
        (tmp_path / name).mkdir()
    source = made(folder, "kd2deploy.exporters.torch.TorchSession")
    plain = onnx_from_torch(source, task, target, tmp_path / "onnx", samples)
    fused = fused_from_onnx(plain, task, target, tmp_path / "fused", samples)
    quantized = int8_from_onnx(fused, task, target, tmp_path / "int8", samples)
    assert quantized.details["operations"] == {"QAttention": 1, "MatMulInteger": 3}
    assert quantized.details["agreement"]["cosine"] > 0.99


def test_fused_attention_is_quantized_and_hides_the_padding(text: Case, fused: Artifact, tmp_path: Path) -> None:
    found = int8_from_onnx(fused, text.task, text.target, tmp_path, text.samples)
    assert found.details["operations"] == {"QAttention": 2, "MatMulInteger": 6}
    rows = [{"text": "a good film is not slow", "label": None}, {"text": "dull", "label": None}]
    encoded = text.task.reader.encode(rows, text.source.path)
    together = run_all(found.path, text.task, text.target, [text.task.reader.feed(encoded)])[0]["logits"]
    alone = run_all(found.path, text.task, text.target, [text.task.reader.feed(encoded[1:])])[0]["logits"]
    exact = run_all(fused.path, text.task, text.target, [text.task.reader.feed(encoded[1:])])[0]["logits"]
    # Rows share one activation scale, so they agree to a few percent and not to the bit.
    np.testing.assert_allclose(together[1], alone[0], atol=0.1 * float(np.abs(exact).max()))


def test_attention_without_a_mask_is_quantized(target: Target, tmp_path: Path) -> None:
    folder = save_image_net(tmp_path / "vit", "vit", size=16)
    task = ImageClassification(labels=["zero", "one", "two"]).at(folder)
    source = made(folder, "kd2deploy.exporters.torch.TorchSession")
    pixels = np.random.default_rng(0).standard_normal((4, 1, 1, 16, 16)).astype(np.float32)
    samples = [{"pixel_values": each} for each in pixels]
    for name in ("onnx", "fused", "int8"):
        (tmp_path / name).mkdir()
    plain = onnx_from_torch(source, task, target, tmp_path / "onnx", samples)
    fused = fused_from_onnx(plain, task, target, tmp_path / "fused", samples)
    quantized = int8_from_onnx(fused, task, target, tmp_path / "int8", samples)
    assert quantized.details["operations"]["QAttention"] == 2


def test_attention_with_a_bias_is_left_alone() -> None:
    inputs = ["x", "weight", "bias", "", "", "positions"]
    assert has_bias(onnx.helper.make_node("Attention", inputs, ["y"], domain="com.microsoft"))
    assert not has_bias(onnx.helper.make_node("Attention", inputs[:3], ["y"], domain="com.microsoft"))


def test_static_int8_covers_convolutions(image: Case, plain_image: Artifact, tmp_path: Path) -> None:
    found = int8_from_onnx(plain_image, image.task, image.target, tmp_path, image.samples, options=Int8(mode="static"))
    kinds = {node.name: node.op_type for node in onnx.load(plain_image.path).graph.node}
    assert {kinds[name] for name in found.details["quantized"]} == {"Conv", "Gemm"}
    assert found.details["calibrated_on"] == len(image.samples)
    assert found.details["agreement"]["cosine"] > 0.99


def test_a_network_of_convolutions_has_no_dynamic_int8(image: Case, plain_image: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="no operation is left"):
        int8_from_onnx(plain_image, image.task, image.target, tmp_path, image.samples)


def test_excluded_nodes_stay_in_floating_point(text: Case, plain: Artifact, tmp_path: Path) -> None:
    found = int8_from_onnx(plain, text.task, text.target, tmp_path, text.samples, options=Int8(exclude=[QUERY]))
    kept = {node.name: node.op_type for node in onnx.load(found.path).graph.node}
    assert kept[QUERY] == "MatMul"
    assert QUERY not in found.details["quantized"]
    assert found.details["excluded"] == [QUERY]


def test_an_unknown_exclusion_is_refused(text: Case, plain: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="query/Matmul"):
        int8_from_onnx(
            plain, text.task, text.target, tmp_path, text.samples, options=Int8(exclude=[QUERY.replace("MatM", "Matm")])
        )


def test_embeddings_make_the_file_smaller(text: Case, plain: Artifact, tmp_path: Path) -> None:
    for name in ("without", "with"):
        (tmp_path / name).mkdir()
    without = int8_from_onnx(plain, text.task, text.target, tmp_path / "without", text.samples)
    found = int8_from_onnx(
        plain, text.task, text.target, tmp_path / "with", text.samples, options=Int8(embeddings=True)
    )
    assert set(found.details["quantized"]) - set(without.details["quantized"])
    tables = [tensor for tensor in onnx.load(found.path).graph.initializer if "word_embeddings" in tensor.name]
    assert {tensor.data_type for tensor in tables if len(tensor.dims) == 2} == {onnx.TensorProto.UINT8}


def test_reduced_range_keeps_weights_to_seven_bits(text: Case, plain: Artifact, tmp_path: Path) -> None:
    found = int8_from_onnx(plain, text.task, text.target, tmp_path, text.samples, options=Int8(reduce_range=True))
    found = [
        np.abs(onnx.numpy_helper.to_array(tensor).astype(np.int32)).max()
        for tensor in onnx.load(found.path).graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2
    ]
    assert 60 < max(found) <= 64


def test_the_tensorrt_layout_is_symmetric_with_float_biases(text: Case, plain: Artifact, tmp_path: Path) -> None:
    found = int8_from_onnx(
        plain, text.task, text.target, tmp_path, text.samples, options=Int8(mode="static", layout="tensorrt")
    )
    graph = onnx.load(found.path).graph
    values = {tensor.name: tensor for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zeros = [values[node.input[2]] for node in pairs]
    assert {tensor.data_type for tensor in zeros} == {onnx.TensorProto.INT8}, "no uint8 and no int32 biases"
    assert not any(onnx.numpy_helper.to_array(tensor).any() for tensor in zeros)
    assert found.details["domains"] == ["ai.onnx"]


def test_tensorrt_gets_neither_dynamic_int8_nor_fused_graphs(
    text: Case, plain: Artifact, fused: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(ConvertError, match="mode: static"):
        int8_from_onnx(plain, text.task, text.target, tmp_path, text.samples, options=Int8(layout="tensorrt"))
    with pytest.raises(ConvertError, match="not the fused one"):
        int8_from_onnx(
            fused, text.task, text.target, tmp_path, text.samples, options=Int8(mode="static", layout="tensorrt")
        )


def test_the_ranking_finds_the_layer_that_bytes_cannot_hold(text: Case, tmp_path: Path) -> None:
    name = "bert.encoder.layer.1.intermediate.dense.weight"

    def spoil(weight: object) -> object:
        # One value a thousand times the others takes the whole range of a per-tensor scale.
        assert hasattr(weight, "clone")
        changed = weight.clone()
        changed[0, 0] = 1000 * changed.std()
        return changed

    def silence(bias: object) -> object:
        # What that value makes is kept from the next layer, whose inputs' range it would take.
        assert hasattr(bias, "clone")
        changed = bias.clone()
        changed[0] = -1e4
        return changed

    spoiled = with_weights(text.source, tmp_path / "one", name, spoil)  # type: ignore[arg-type]
    spoiled = with_weights(spoiled, tmp_path / "net", name.replace("weight", "bias"), silence)  # type: ignore[arg-type]
    (tmp_path / "onnx").mkdir()
    source = onnx_from_torch(spoiled, text.task, text.target, tmp_path / "onnx", text.samples, route="torchscript")
    ranked = rank_sensitivity(source, text.task, text.target, text.samples, options=Int8(per_channel=False))
    assert [node for node, _ in ranked] != quantizable_nodes(source.path, Int8())
    assert "layer.1/intermediate" in ranked[0][0]
    assert ranked[0][1] > 2 * ranked[1][1]


def test_a_layer_is_ranked_by_the_arithmetic_that_it_will_have(
    text: Case, plain: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT has full-range weights whatever this processor saturates at."""
    asked: list[bool] = []

    def recorded(path: Path, samples: object, nodes: object, options: Int8) -> onnx.ModelProto:
        asked.append(options.narrow)
        return onnx.load(path)

    monkeypatch.setattr(quantize, "saturates_int8", lambda: True)
    monkeypatch.setattr(quantize, "quantizable_nodes", lambda *given: [QUERY])
    monkeypatch.setattr(quantize, "quantized", recorded)
    inputs = plain, text.task, text.target, text.samples
    rank_sensitivity(*inputs)
    rank_sensitivity(*inputs, options=Int8(reduce_range=False))
    rank_sensitivity(*inputs, options=Int8(mode="static", layout="tensorrt"))
    assert asked == [True, False, False]


def test_damage_is_the_relative_error_of_all_outputs() -> None:
    reference = [{"y": np.array([[3.0, 0.0]])}, {"y": np.array([[0.0, 4.0]])}]
    assert damage(reference, reference) == 0
    assert damage(reference, [{"y": np.array([[3.0, 0.5]])}, {"y": np.array([[0.0, 4.0]])}]) == pytest.approx(0.1)
    assert damage(reference, [{"y": np.array([[3.0, np.nan]])}, {"y": np.array([[0.0, 4.0]])}]) == float("inf")
