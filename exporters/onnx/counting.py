"""How many operations a graph takes for a request."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from kd2deploy.core import Feed

if TYPE_CHECKING:
    import onnx

PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})


def share_of(less: "onnx.ModelProto", whole: "onnx.ModelProto", feeds: Sequence[Feed]) -> float:
    """How many of the operations of a graph another has, for the request of median size."""
    middling = sorted(feeds, key=lambda feed: sum(array.size for array in feed.values()))[len(feeds) // 2]
    return multiply_adds(less, middling) / multiply_adds(whole, middling)


def multiply_adds(model: "onnx.ModelProto", feed: Feed) -> int:
    """Of its products and convolutions, by the shapes that they have when it is run. The graph must be a plain one, of
    less than 2 GB."""
    import onnx
    import onnxruntime

    nodes = [node for node in model.graph.node if node.op_type in PRODUCTS]
    shapes = {entry.name: tuple(entry.dims) for entry in model.graph.initializer}
    watched = dict.fromkeys(name for node in nodes for name in (*node.input[:2], node.output[0]) if name not in shapes)
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    del seen.graph.output[:]
    seen.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in watched)
    session = onnxruntime.InferenceSession(seen.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(list(watched), {entry.name: feed[entry.name] for entry in session.get_inputs()})
    shapes |= {name: array.shape for name, array in zip(watched, found, strict=True)}
    return sum(prod(shapes[node.output[0]]) * summed(node, [shapes[name] for name in node.input[:2]]) for node in nodes)


def summed(node: "onnx.NodeProto", shapes: list[tuple[int, ...]]) -> int:
    """How many products are summed up to one number of the output."""
    first, second = shapes
    if node.op_type == "Conv":
        return prod(second[1:])
    turned = any(each.name == "transA" and each.i for each in node.attribute)
    return first[0] if turned else first[-1]
