"""The last layer of a graph is computed only for the positions that an answer reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import Case
from onnx import TensorProto, helper, numpy_helper
from tiny_detectors import save_detector, small_task
from tiny_models import save_encoder, save_image_net

from kd2deploy.core import Artifact, Target, Task, made
from kd2deploy.exporters.onnx import onnx_from_torch
from kd2deploy.exporters.onnx.counting import multiply_adds
from kd2deploy.exporters.onnx.selection import select_early
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification

OPENED_BY = "kd2deploy.exporters.torch.TorchSession"
LAYER = {"LayerNormalization": 2, "MatMul": 3}
"""What of a transformer's layer works on positions one by one, less what differs by family: its norms, the product
behind attention and the two of its feed-forward part."""
POSITIONS, HIDDEN = 5, 4


def exported(folder: Path, task: Task, target: Target, out: Path, route: Any) -> Artifact:
    """Checked against the network, also at another size, by the converter itself."""
    example = task.networks.example(task.networks.load(folder), 2)
    sample = {port.name: example[port.name].numpy() for port in task.inputs}
    return onnx_from_torch(made(folder, OPENED_BY), task, target, out, [sample], route=route)


@pytest.mark.parametrize("route", ["dynamo", "torchscript"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra"])
def test_of_an_encoder_the_first_word_alone_goes_through_the_last_layer(
    tmp_path: Path, target: Target, family: str, route: str
) -> None:
    folder = save_encoder(tmp_path / "net", family)
    task = TextClassification(["neg", "pos"], max_length=32).at(folder)
    artifact = exported(folder, task, target, tmp_path, route)
    early = artifact.details["selected_early"]
    assert {kind: early[kind] for kind in LAYER} == LAYER
    last = [node for node in onnx.load(artifact.path).graph.node if node.op_type == "LayerNormalization"][-1]
    assert shape_of(artifact.path, last.output[0], task, folder) == (2, 1, 16), "of two texts one word each"


def test_of_a_vision_transformer_the_class_token_alone_goes_through_the_last_layer(
    tmp_path: Path, target: Target
) -> None:
    folder = save_image_net(tmp_path / "net", "vit")
    artifact = exported(folder, ImageClassification(["zero", "one", "two"]).at(folder), target, tmp_path, "dynamo")
    assert artifact.details["selected_early"]["MatMul"] == LAYER["MatMul"]


def test_of_a_detector_its_queries_alone_go_through_the_last_layer(tmp_path: Path, target: Target) -> None:
    folder = save_detector(tmp_path / "net", "yolos")
    artifact = exported(folder, small_task().at(folder), target, tmp_path, "dynamo")
    assert artifact.details["selected_early"]["MatMul"] == LAYER["MatMul"]


def test_where_every_position_counts_the_graph_stays_as_it_is(tmp_path: Path, target: Target) -> None:
    folder = save_image_net(tmp_path / "net", "resnet", size=32)
    artifact = exported(folder, ImageClassification(["zero", "one", "two"]).at(folder), target, tmp_path, "dynamo")
    assert artifact.details["selected_early"] == {}


def shape_of(path: Path, value: str, task: Task, folder: Path) -> tuple[int, ...]:
    """What a tensor inside a graph measures for the example of a network."""
    model = onnx.load(path)
    model.graph.output.append(helper.make_empty_tensor_value_info(value))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    example = task.networks.example(task.networks.load(folder), 2)
    feed = {entry.name: example[entry.name].numpy() for entry in session.get_inputs()}
    return tuple(session.run([value], feed)[0].shape)


# small graphs -------------------------------------------------------------------------------------------------


def node(kind: str, *inputs: str, to: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [to], **attributes)


def first_of(name: str, to: str = "taken") -> onnx.NodeProto:
    return node("Gather", name, "first", to=to, axis=1)


def weight(*sizes: int) -> Any:
    return np.random.default_rng(len(sizes)).normal(size=sizes).astype(np.float32)


CONSTANTS: dict[str, Any] = {
    "first": np.array(0),
    "second": np.array(1),
    "starts": np.array([-2]),
    "ends": np.array([2**31 - 1]),
    "axes": np.array([1]),
    "weight": weight(HIDDEN, HIDDEN),
    "bias": weight(HIDDEN),
    "places": weight(POSITIONS, HIDDEN),
    "kernel": weight(2, POSITIONS, 3),
}


def graph(*nodes: onnx.NodeProto, outputs: Sequence[str] = ("out",)) -> onnx.ModelProto:
    """Of `x` [B, POSITIONS, HIDDEN] and `y` [B, 1, HIDDEN]; ONNX's own inference tells the outputs' shapes."""
    given = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", POSITIONS, HIDDEN]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1, HIDDEN]),
    ]
    held = [numpy_helper.from_array(array, name) for name, array in CONSTANTS.items()]
    results = [helper.make_tensor_value_info(one, TensorProto.FLOAT, None) for one in outputs]
    found = helper.make_graph(nodes, "small", given, results, held)
    return helper.make_model(found, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


PRODUCT, END = node("MatMul", "x", "weight", to="product"), node("Relu", "taken", to="out")
GRAPHS = {
    "a product and a bias": (
        graph(PRODUCT, node("Add", "product", "bias", to="sum"), first_of("sum"), END),
        ["Add", "MatMul"],
    ),
    "a sum that goes round a product": (
        graph(
            PRODUCT,
            node("Relu", "product", to="a"),
            node("MatMul", "a", "weight", to="b"),
            node("Add", "b", "a", to="sum"),
            first_of("sum"),
            END,
        ),
        ["Add", "MatMul", "Relu", "MatMul"],
    ),
    "a norm of the last axis": (
        graph(node("LayerNormalization", "x", "bias", to="norm", axis=2), first_of("norm"), END),
        ["LayerNormalization"],
    ),
    "some positions": (
        graph(PRODUCT, node("Slice", "product", "starts", "ends", "axes", to="taken"), END),
        ["MatMul"],
    ),
    "a norm over positions, too": (
        graph(node("LayerNormalization", "x", "places", to="norm", axis=1), first_of("norm"), END),
        [],
    ),
    "read elsewhere": (
        graph(PRODUCT, first_of("product"), END, node("Relu", "product", to="all"), outputs=["out", "all"]),
        [],
    ),
    "an answer itself": (graph(PRODUCT, first_of("product", to="out")), ["MatMul"]),
    "several as the answer": (graph(PRODUCT, node("Slice", "product", "starts", "ends", "axes", to="out")), []),
    "a part that is the same at every position": (graph(node("Add", "x", "y", to="sum"), first_of("sum"), END), []),
    "a constant of each position": (graph(node("Add", "x", "places", to="sum"), first_of("sum"), END), []),
    "two that are not the same": (
        graph(
            PRODUCT,
            first_of("product", to="one"),
            node("Gather", "product", "second", to="other", axis=1),
            node("Add", "one", "other", to="out"),
        ),
        [],
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_selection_moves_up_as_far_as_positions_are_worked_on_one_by_one(name: str) -> None:
    model, expected = GRAPHS[name]
    changed, passed = select_early(model)
    assert passed == expected
    drawn = np.random.default_rng(0)
    feed = {"x": drawn.normal(size=(2, POSITIONS, HIDDEN)), "y": drawn.normal(size=(2, 1, HIDDEN))}
    before, after = (answers(one, feed) for one in (model, changed))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


def test_the_operations_that_are_left_out_are_not_counted(text: Case, plain: Artifact, fused: Artifact) -> None:
    whole = text.task.networks.load(text.source.path)
    hidden, inner, words = 16, 32, 6
    one = {name: np.ones((1, words), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    layer = words * hidden * (4 * hidden + 2 * inner) + 2 * words * words * hidden
    spared = (words - 1) * hidden * (hidden + 2 * inner)
    classified = hidden * hidden + hidden * whole.config.num_labels  # type: ignore[union-attr]
    assert multiply_adds(onnx.load(plain.path), one) == 2 * layer - spared + classified
    assert 0.5 < plain.computes < 1
    assert fused.computes == plain.computes, "what is made of it leaves out the same"


def test_operations_of_products_and_convolutions_are_counted_by_their_shapes() -> None:
    feed = {"x": np.ones((2, POSITIONS, HIDDEN), np.float32), "y": np.ones((2, 1, HIDDEN), np.float32)}
    pair = node("MatMul", "x", "turned", to="scores")
    turned = node("Transpose", "x", to="turned", perm=[0, 2, 1])
    assert multiply_adds(graph(turned, pair, outputs=["scores"]), feed) == 2 * POSITIONS * POSITIONS * HIDDEN
    gemm = node("Gemm", "places", "places", to="out", transA=1)
    assert multiply_adds(graph(gemm), feed) == HIDDEN * HIDDEN * POSITIONS
    conv = node("Conv", "x", "kernel", to="out", pads=[1, 1])
    assert multiply_adds(graph(conv), feed) == 2 * 2 * HIDDEN * POSITIONS * 3


def answers(model: onnx.ModelProto, feed: dict[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = [entry.name for entry in session.get_inputs()]
    found: list[Any] = session.run(None, {name: feed[name].astype(np.float32) for name in wanted})
    return found
