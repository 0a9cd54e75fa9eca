"""What TensorRT's parser accepts of an ONNX graph, said before it is asked, with what to do instead."""

from typing import TYPE_CHECKING

from kd2deploy.errors import ConvertError

if TYPE_CHECKING:
    import onnx

DYNAMIC_INT8 = frozenset({"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"})
ACTIVATION_TYPES = frozenset({"INT8", "FLOAT8E4M3FN"})
LARGEST_OPSET = 22
"""From 23 on attention is one operation, which the parser reads and the builder cannot build."""
SYMMETRIC = "{use: int8_from_onnx, mode: static, layout: tensorrt}"


def refuse_unreadable(model: "onnx.ModelProto") -> None:
    """Raise ConvertError for a graph that was made for another runtime."""
    if said := unreadable(model):
        raise ConvertError(f"TensorRT cannot run this graph: {said}")


def unreadable(model: "onnx.ModelProto") -> str:
    """Why TensorRT cannot run the graph, with the remedy; empty where nothing speaks against it."""
    import onnx

    foreign = sorted({node.domain for node in model.graph.node} - {"", "ai.onnx"})
    if foreign:
        return f"it has operations of {foreign}; convert the plain export, not the fused one"
    dynamic = sorted({node.op_type for node in model.graph.node} & DYNAMIC_INT8)
    if dynamic:
        return f"its activations are quantized at run time ({', '.join(dynamic)}); use {SYMMETRIC}"
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset > LARGEST_OPSET:
        return f"it is of opset {opset}; export it with opset: 20"
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in held:
            kind = onnx.TensorProto.DataType.Name(held[node.input[0]].data_type)
            if kind == "INT32":
                return f"the bias {node.input[0]!r} is quantized to int32; use {SYMMETRIC}"
        if node.op_type == "QuantizeLinear":
            zero = held.get(node.input[2]) if len(node.input) > 2 else None
            kind = onnx.TensorProto.DataType.Name(zero.data_type) if zero is not None else "UINT8"
            if kind not in ACTIVATION_TYPES:
                return f"its activations are {kind.lower()}, and TensorRT reads symmetric int8; use {SYMMETRIC}"
            if zero is not None and kind == "INT8" and onnx.numpy_helper.to_array(zero).any():
                return f"its zero points are not zero; use {SYMMETRIC}"
    return ""


def pair_type(model: "onnx.ModelProto") -> str:
    """`int8` or `fp8` for a graph with quantize / dequantize pairs, else empty."""
    import onnx

    held = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and len(node.input) > 2:
            return "fp8" if held.get(node.input[2]) == onnx.TensorProto.FLOAT8E4M3FN else "int8"
    return ""
