"""ONNX graphs in 16-bit floating point: what strongly typed runtimes compute in.

A strongly typed network computes in the types that its graph states, so precision is chosen here, in the graph.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kd2deploy.errors import ConvertError
from kd2deploy.exporters._quiet import quiet

if TYPE_CHECKING:
    import onnx


Half = Literal["fp16", "bf16"]


ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div"})


def cast_to_half(model: "onnx.ModelProto", precision: Half, exclude: Sequence[str] = ()) -> "onnx.ModelProto":
    """The graph with its fp32 arithmetic in `precision`, but for the nodes named in `exclude`; ports stay fp32.

    Raises ConvertError for names that are not in the graph. `model` is left as it was.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    unknown = sorted(set(exclude) - {node.name for node in model.graph.node})
    if unknown:
        raise ConvertError(f"exclude names {unknown}, which are not in the graph; open it in a viewer to see its nodes")
    kept = _with_what_adds_up(model, exclude)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with quiet():  # it names each weight that it rounds to zero
        cast = convert_float_to_float16(copy, keep_io_types=True, node_block_list=sorted(kept) or None)
    _once(cast)
    _stay_in_fp32(cast, kept)
    if precision == "bf16":
        _widen_to_bf16(cast, floats_of(model))
    return _in_order(cast)


def _once(model: "onnx.ModelProto") -> None:
    """Drop casts that stand twice: ONNX Runtime 1.30 writes one per reader of a value, all under one name."""
    written: set[str] = set()
    kept = []
    for node in model.graph.node:
        if node.op_type != "Cast" or node.output[0] not in written:
            kept.append(node)
        written.update(node.output)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def only_in_half(model: "onnx.ModelProto", precision: Half, node: str) -> "onnx.ModelProto":
    """The fp32 graph with one node in `precision`: what that node alone loses.

    The processor has no kernels for bf16. There the node reads and writes what was rounded to bf16 and computes in
    fp32, as a device's matrix units do, which multiply bf16 and add up in fp32.
    """
    import onnx

    cast = cast_to_half(model, precision, [each.name for each in model.graph.node if each.name != node])
    if precision == "fp16":
        return cast
    narrow = {name for name, tensor in _tensors(cast) if tensor.data_type == onnx.TensorProto.BFLOAT16}
    narrow |= {each.output[0] for each in cast.graph.node if _casts_to(each, onnx.TensorProto.BFLOAT16)}
    one = next(each for each in cast.graph.node if each.name == node)
    for place, name in enumerate(one.input):
        if name in narrow:
            one.input[place] = f"{name}_wide_{place}"
            cast.graph.node.append(_cast_node(name, one.input[place], onnx.TensorProto.FLOAT))
    for place, name in enumerate(one.output):
        if name:
            one.output[place] = f"{name}_wide"
            cast.graph.node.append(_cast_node(one.output[place], name, onnx.TensorProto.BFLOAT16))
    return _in_order(cast)


def _casts_to(node: "onnx.NodeProto", kind: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == kind


def _cast_node(source: str, to: str, kind: int) -> "onnx.NodeProto":
    import onnx

    return onnx.helper.make_node("Cast", [source], [to], f"{to}/Cast", to=kind)


def _with_what_adds_up(model: "onnx.ModelProto", exclude: Sequence[str]) -> set[str]:
    """The excluded nodes, and the sums and products that follow them: a bias or a residual added in fp16 overflows too.

    The graph is in topological order, so one walk finds them all.
    """
    kept = set(exclude)
    wide = set[str]()
    for node in model.graph.node:
        if node.name in kept or (node.op_type in ELEMENTWISE and wide & set(node.input)):
            kept.add(node.name)
            wide |= set(node.output)
    return kept


def _stay_in_fp32(cast: "onnx.ModelProto", exclude: set[str]) -> None:
    """Between two excluded nodes let values pass as they are, in place.

    The converter rounds them to fp16 and back, which is where the overflow happens that excluding was to prevent.
    """
    import onnx

    made_by = {output: node for node in cast.graph.node for output in node.output}

    def rounds_an_excluded_value(name: str) -> bool:
        node = made_by.get(name)
        if node is None or not _casts_to(node, onnx.TensorProto.FLOAT16):
            return False
        before = made_by.get(node.input[0])
        return before is not None and before.name in exclude

    direct = {}
    for node in cast.graph.node:
        if _casts_to(node, onnx.TensorProto.FLOAT) and rounds_an_excluded_value(node.input[0]):
            direct[node.output[0]] = made_by[node.input[0]].input[0]
    for node in cast.graph.node:
        for place, name in enumerate(node.input):
            if name in direct:
                node.input[place] = direct[name]


def _widen_to_bf16(cast: "onnx.ModelProto", originals: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Turn every fp16 of the graph into bf16, in place; weights are rounded from the originals, not from fp16."""
    import ml_dtypes
    import onnx

    half, brain = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
    for name, tensor in _tensors(cast):
        if tensor.data_type == half:
            kept = onnx.numpy_helper.to_array(tensor) if name not in originals else originals[name]
            tensor.CopyFrom(onnx.numpy_helper.from_array(kept.astype(ml_dtypes.bfloat16), tensor.name))
    for node in cast.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == half:
                attribute.i = brain
    for value in cast.graph.value_info:
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = brain


def floats_of(model: "onnx.ModelProto") -> dict[str, np.ndarray[Any, Any]]:
    """Every fp32 weight and constant of a graph by its name."""
    import onnx

    found = _tensors(model)
    return {name: onnx.numpy_helper.to_array(one) for name, one in found if one.data_type == onnx.TensorProto.FLOAT}


def _tensors(model: "onnx.ModelProto") -> "Iterator[tuple[str, onnx.TensorProto]]":
    for tensor in model.graph.initializer:
        yield tensor.name, tensor
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node.output[0], attribute.t


def _in_order(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The graph in topological order and without casts to nowhere: the converter leaves both behind."""
    import onnx_ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    graph = onnx_ir.from_proto(model)
    graph.graph.sort()
    RemoveUnusedNodesPass()(graph)
    proto: onnx.ModelProto = onnx_ir.to_proto(graph)
    return proto
