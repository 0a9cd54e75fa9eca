"""Weights and activations of ONNX graphs in 8 bits, and which operations pay for it with accuracy."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kd2deploy.core import Artifact, Feed, Target, Task, converter, made
from kd2deploy.errors import ConvertError, DisagreementError
from kd2deploy.exporters._cpu import isa, saturates_int8
from kd2deploy.exporters._quiet import quiet
from kd2deploy.exporters.onnx.attention import has_bias
from kd2deploy.exporters.onnx.checking import Outputs, agreement, by_damage, not_excluded, run_all
from kd2deploy.exporters.onnx.files import OPENED_BY, domains, save

if TYPE_CHECKING:
    import onnx

Mode = Literal["dynamic", "static"]
Layout = Literal["onnxruntime", "tensorrt"]

QUANTIZABLE: dict[Mode, frozenset[str]] = {
    "dynamic": frozenset({"MatMul", "Attention"}),
    "static": frozenset({"MatMul", "Gemm", "Conv"}),
}
"""Operations with weights that gain from bytes. There is no dynamic Gemm, and dynamic convolutions (ConvInteger) are
slower than fp32 ones."""


@dataclass(frozen=True)
class Int8:
    """How a graph is held in 8 bits."""

    mode: Mode = "dynamic"
    """`dynamic` scales activations at run time; `static` calibrates them on samples and writes quantize / dequantize
    pairs."""
    layout: Layout = "onnxruntime"
    """`tensorrt` is what TensorRT reads: symmetric int8 activations, float biases, a pair per consumer."""
    exclude: Sequence[str] = ()
    """Nodes that stay in floating point (`rank_sensitivity` tells which)."""
    per_channel: bool = True
    reduce_range: bool | None = None
    """Keep weights to 7 bits; None decides it from the processor, since without VNNI full-range products saturate."""
    embeddings: bool = False
    """Also store the embedding tables in 8 bits (a smaller file, not a faster one)."""

    @property
    def narrow(self) -> bool:
        """Whether weights keep to 7 bits; where it is not said, on processors whose full-range products saturate."""
        if self.reduce_range is None:
            return self.layout == "onnxruntime" and saturates_int8()
        return self.reduce_range


AS_IT_IS = Int8()


def rank_sensitivity(
    source: Artifact, task: Task, target: Target, samples: Sequence[Feed], *, options: Int8 = AS_IT_IS
) -> list[tuple[str, float]]:
    """Each quantizable node with the damage done when it alone is in 8 bits, worst first.

    The damage is the relative L2 error of the outputs over all samples (0 none, 1 as large as the outputs).
    """
    names = quantizable_nodes(source.path, options)
    rounded = ((name, quantized(source.path, samples, [name], options)) for name in names)
    return by_damage(source.path, task, target, samples, rounded)


@converter(rounds_to=8, ranked_by=rank_sensitivity)
def int8_from_onnx(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    options: Int8 = AS_IT_IS,
) -> Artifact:
    """`model.onnx` with 8-bit weights, on a plain or a fused graph."""
    mode, layout, exclude = options.mode, options.layout, options.exclude
    if layout == "tensorrt" and mode == "dynamic":
        raise ConvertError("TensorRT cannot run dynamic int8: set mode: static")
    foreign = [name for name in domains(source.path) if name != "ai.onnx"]
    if layout == "tensorrt" and foreign:
        raise ConvertError(f"TensorRT cannot run {foreign} operations: quantize the plain export, not the fused one")
    candidates = quantizable_nodes(source.path, options)
    none_left = "no operation is left to quantize: the graph has none with weights, or all are excluded"
    chosen = not_excluded(candidates, exclude, none_left)
    path = folder / "model.onnx"
    model = quantized(source.path, samples, chosen, options)
    save(model, path, {"source": source.sha256, "quantized": mode})
    reference, found = run_all(source.path, task, target, samples), run_all(path, task, target, samples)
    _refuse_nan(found)
    return made(
        path,
        OPENED_BY,
        parent=source,
        made_by="int8_from_onnx",
        precision="int8",
        details={
            "mode": mode,
            "layout": layout,
            "quantized": chosen,
            "excluded": list(exclude),
            "operations": dict(Counter(node.op_type for node in model.graph.node if _is_integer(node.op_type))),
            "per_channel": options.per_channel,
            "reduce_range": options.narrow,
            "isa": isa(),
            "calibrated_on": len(samples) if mode == "static" else 0,
            "domains": domains(path),
            "nodes": len(model.graph.node),
            "agreement": agreement(task, reference, found),
        },
    )


def quantizable_nodes(path: Path, options: Int8) -> list[str]:
    """Names of the operations with a constant weight that can be held in 8 bits, in the graph's order.

    Products of two activations, as attention's are, stay as they are: in bytes they were slower at every length tried.
    """
    import onnx

    graph = onnx.load(path).graph
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}

    def chosen(node: "onnx.NodeProto") -> bool:
        if node.op_type == "Gather":
            return options.embeddings and node.input[0] in weights
        if node.op_type not in QUANTIZABLE[options.mode] or has_bias(node):
            return False
        return node.input[1] in weights

    return [node.name for node in graph.node if chosen(node)]


def quantized(path: Path, samples: Sequence[Feed], nodes: Sequence[str], options: Int8) -> "onnx.ModelProto":
    """The graph at `path` with `nodes` in 8 bits."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    kinds = sorted({node.op_type for node in onnx.load(path).graph.node if node.name in set(nodes)})
    # Shape inference stops at fused operations, so the type of what lies behind them must be said.
    extra: dict[str, Any] = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    common: dict[str, Any] = {
        "op_types_to_quantize": kinds,
        "nodes_to_quantize": list(nodes),
        "per_channel": options.per_channel,
        "reduce_range": options.narrow,
        "weight_type": QuantType.QInt8,
    }
    with tempfile.TemporaryDirectory() as scratch, quiet():
        written = Path(scratch) / "model.onnx"
        if options.mode == "dynamic":
            quantize_dynamic(path, written, extra_options=extra, **common)
        else:
            if options.layout == "tensorrt":
                extra |= {
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    "DedicatedQDQPair": True,
                }
            quantize_static(
                path,
                written,
                _reader(samples),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QInt8 if options.layout == "tensorrt" else QuantType.QUInt8,
                extra_options=extra,
                **common,
            )
        return onnx.load(written)


def _reader(samples: Sequence[Feed]) -> Any:
    """The samples as ONNX Runtime's calibration asks for them: one at a time, then None."""
    from onnxruntime.quantization import CalibrationDataReader

    class Samples(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds: Iterator[Feed] = iter(samples)

        def get_next(self) -> dict[str, Any] | None:
            feed = next(self.feeds, None)
            return dict(feed) if feed is not None else None

    return Samples()


def _is_integer(op_type: str) -> bool:
    return "Integer" in op_type or op_type.startswith("Q") or op_type == "DequantizeLinear"


def _refuse_nan(found: Sequence[Outputs]) -> None:
    for outputs in found:
        for name, array in outputs.items():
            if not np.isfinite(array).all():
                raise DisagreementError(f"output {name!r} is NaN or infinite in 8 bits: exclude the worst operations")
