"""8-bit floating point pairs (e4m3), which TensorRT alone fuses, and which products pay for it with accuracy."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kd2deploy.core import Artifact, Feed, Target, Task, converter, made
from kd2deploy.exporters.onnx.casts import floats_of
from kd2deploy.exporters.onnx.checking import agreement, by_damage, not_excluded, run_all
from kd2deploy.exporters.onnx.files import OPENED_BY as ONNX_SESSION
from kd2deploy.exporters.onnx.files import domains, save
from kd2deploy.exporters.quantize import Int8, quantizable_nodes, quantized

if TYPE_CHECKING:
    import onnx


INT8_LARGEST, FP8_LARGEST = 127.0, 448.0
"""Largest magnitudes of int8 and of float8 e4m3."""
PAIRS = ("QuantizeLinear", "DequantizeLinear")
SYMMETRIC_INT8 = Int8(mode="static", layout="tensorrt", reduce_range=False)
"""The pairs that get fp8's ranges."""
QUANTIZED = "_quantized"
"""What ONNX Runtime's quantizer appends to the name of a weight."""


def rank_fp8_sensitivity(
    source: Artifact, task: Task, target: Target, samples: Sequence[Feed]
) -> list[tuple[str, float]]:
    """Each matrix product with the damage done when it alone is in fp8, worst first; the damage as of `damage`."""
    import onnx

    plain = onnx.load(source.path)
    names = _matrix_products(plain, source.path)
    rounded = ((name, _in_fp8(plain, source.path, samples, [name])) for name in names)
    return by_damage(source.path, task, target, samples, rounded)


@converter(rounds_to=8, ranked_by=rank_fp8_sensitivity)
def fp8_from_onnx(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    exclude: Sequence[str] = (),
) -> Artifact:
    """Float8 (e4m3) quantize / dequantize pairs around the matrix products, calibrated on `samples`.

    For devices of compute capability 8.9 and later. `exclude` names nodes that stay in floating point.
    """
    import onnx

    plain = onnx.load(source.path)
    candidates = _matrix_products(plain, source.path)
    chosen = not_excluded(
        candidates, exclude, "no matrix product is left for fp8: the graph has none, or all are excluded"
    )
    path = folder / "model.onnx"
    save(_in_fp8(plain, source.path, samples, chosen), path, {"source": source.sha256, "quantized": "fp8"})
    alike = agreement(task, run_all(source.path, task, target, samples), run_all(path, task, target, samples))
    details: dict[str, Any] = {
        "mode": "static",
        "layout": "tensorrt",
        "quantized": chosen,
        "excluded": list(exclude),
        "calibrated_on": len(samples),
        "domains": domains(path),
        "agreement": alike,
    }
    return made(path, ONNX_SESSION, parent=source, made_by="fp8_from_onnx", precision="fp8", details=details)


def _matrix_products(plain: "onnx.ModelProto", path: Path) -> list[str]:
    """Names of the operations that fp8 gains from: there are no convolutions in fp8."""
    products = {node.name for node in plain.graph.node if node.op_type in ("MatMul", "Gemm")}
    return [name for name in quantizable_nodes(path, Int8(mode="static")) if name in products]


def _in_fp8(plain: "onnx.ModelProto", path: Path, samples: Sequence[Feed], chosen: Sequence[str]) -> "onnx.ModelProto":
    """The graph, which also lies at `path`, with fp8 pairs around the chosen nodes."""
    pairs = quantized(path, samples, chosen, SYMMETRIC_INT8)
    return fp8_pairs(pairs, plain)


def fp8_pairs(quantized: "onnx.ModelProto", source: "onnx.ModelProto") -> "onnx.ModelProto":
    """A graph with symmetric int8 pairs as one with float8 e4m3 pairs: the same ranges, weights rounded from `source`.

    Scales grow by 127 / 448, so that the largest value of a tensor stays the largest. `quantized` is left as it was.
    """
    import ml_dtypes
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(quantized)
    originals = floats_of(source)
    held = {tensor.name: tensor for tensor in result.graph.initializer}
    pairs = [node for node in result.graph.node if node.op_type in PAIRS]
    scales = {name: onnx.numpy_helper.to_array(held[name]) * (INT8_LARGEST / FP8_LARGEST) for name in _inputs(pairs, 1)}
    for name, scale in scales.items():
        held[name].CopyFrom(onnx.numpy_helper.from_array(scale.astype(np.float32), name))
    for name in _inputs(pairs, 2):
        zeros = np.zeros(tuple(held[name].dims), dtype=ml_dtypes.float8_e4m3fn)
        held[name].CopyFrom(onnx.numpy_helper.from_array(zeros, name))
    for node in pairs:
        if node.op_type == "DequantizeLinear" and node.input[0] in held:
            weight, scale = originals[node.input[0].removesuffix(QUANTIZED)], scales[node.input[1]]
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            if scale.ndim:
                scale = scale.reshape([-1 if place == axis % weight.ndim else 1 for place in range(weight.ndim)])
            rounded = np.clip(weight / scale, -FP8_LARGEST, FP8_LARGEST).astype(ml_dtypes.float8_e4m3fn)
            held[node.input[0]].CopyFrom(onnx.numpy_helper.from_array(rounded, node.input[0]))
    del result.graph.value_info[:]  # they state the types that were
    return result


def _inputs(nodes: "Sequence[onnx.NodeProto]", place: int) -> list[str]:
    """The distinct names of the nodes' inputs at `place`."""
    return list(dict.fromkeys(node.input[place] for node in nodes if len(node.input) > place))
