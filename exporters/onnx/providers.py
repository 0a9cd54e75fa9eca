"""What ONNX Runtime's providers for NVIDIA devices are told, and what they compute in for it.

Source: ONNX Runtime's own pages of its CUDA, TensorRT and TensorRT-RTX execution providers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from kd2deploy.exporters.shapes import ShapeRange

DEVICE_OF = {
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "cuda",
    "NvTensorRTRTXExecutionProvider": "cuda",
}
"""Where a provider's arrays lie; any other provider's lie on the host."""
CUDA_GRAPH_OPTION = {
    "CUDAExecutionProvider": "enable_cuda_graph",
    "TensorrtExecutionProvider": "trt_cuda_graph_enable",
    "NvTensorRTRTXExecutionProvider": "enable_cuda_graph",
}
"""How each provider is told to record its launches."""
TAKES_STREAM = frozenset({"CUDAExecutionProvider", "TensorrtExecutionProvider"})
"""Providers that issue their work on the caller's stream, told by `user_compute_stream`."""
DEFAULTS: Mapping[str, Mapping[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}}
"""Unless it is told otherwise, CUDA multiplies fp32 in TF32, which has 10 bits of mantissa."""
PREFIX = {"TensorrtExecutionProvider": "trt", "NvTensorRTRTXExecutionProvider": "nv"}
"""Providers that build an engine, with what their options begin with."""
COMPUTED_IN = {"trt_int8_enable": "int8", "trt_fp16_enable": "fp16", "trt_bf16_enable": "bf16"}
"""Options that let TensorRT round a graph's fp32 arithmetic."""
WHICH: tuple[Literal["smallest", "usual", "largest"], ...] = ("smallest", "usual", "largest")


def engine_options(provider: str, ranges: Mapping[str, ShapeRange], cache: Path) -> dict[str, str]:
    """The shapes that an engine is built for, and where it is kept: else each shape and each process builds it anew."""
    prefix = PREFIX[provider]
    kept = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache)}
    options = kept if prefix == "trt" else {"nv_runtime_cache_path": str(cache)}
    for said, which in zip(("min", "opt", "max"), WHICH, strict=True):
        shapes = {name: "x".join(map(str, getattr(one, which))) for name, one in ranges.items()}
        options[f"{prefix}_profile_{said}_shapes"] = ",".join(f"{name}:{shape}" for name, shape in shapes.items())
    return options


def computed_in(precision: str, options: Mapping[str, str]) -> str:
    """What a graph held in `precision` is computed in under a provider's options."""
    allowed = [kind for name, kind in COMPUTED_IN.items() if options.get(name, "0").lower() in ("1", "true")]
    return allowed[0] if precision == "fp32" and allowed else precision
