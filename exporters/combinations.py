"""Which ways to deploy make no sense on a target: a graph made for another runtime or for another kind of device.

A graph in int8 for a processor (unsigned, dynamic or asymmetric activations) is slow or unreadable on a GPU, and the
symmetric one for a GPU is slow on a processor; both would run somewhere and show a figure that is nobody's.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from kd2deploy.core import Target, Variant
from kd2deploy.core.trust import is_ours
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.exporters._cpu import isa, multiplies_bf16
from kd2deploy.exporters.tensorrt.graph import LARGEST_OPSET, SYMMETRIC

GPU_PROVIDERS = frozenset({"CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"})
OPENVINO = frozenset({"openvino_from_onnx", "nncf_from_onnx"})
TENSORRT_PROVIDERS = GPU_PROVIDERS - {"CUDAExecutionProvider"}
FP8_SINCE = (8, 9)
BF16_SINCE = (8, 0)
"""Compute capabilities that multiply in the type: Ada and Hopper, and Ampere."""


def refusal(target: Target, variant: Variant) -> str:
    """Why a variant cannot be deployed on a target, with what to set instead; empty where it can."""
    return next(reasons(target, variant), "")


def beyond_processor(variant: Variant) -> str:
    """Why the processor here gains nothing from a variant, which another of the same target may; empty where it can."""
    steps = {short_name(step) for step in variant.steps if is_known(step)}
    if OPENVINO & steps and variant.session.get("precision") == "bf16" and not multiplies_bf16():
        return f"this processor ({isa()}) has no instructions for bf16; set session.precision to f32"
    return ""


def refusals(target: Target) -> dict[str, str]:
    """The variants of a target that make no sense there, with the reason."""
    found = {name: refusal(target, variant) for name, variant in target.variants.items()}
    return {name: reason for name, reason in found.items() if reason}


def refuse_hopeless(targets: Iterable[Target]) -> None:
    """Raise RecipeError where a target refuses all of its variants: whatever is trained could not be deployed there."""
    faults = []
    for target in targets:
        refused = refusals(target)
        if len(refused) == len(target.variants):
            faults += [Fault(f"target {target.name}: variants.{name}", reason) for name, reason in refused.items()]
    if faults:
        raise RecipeError(faults)


def capability_of(target: Target) -> tuple[int, int] | None:
    """The compute capability of a target's device: (9, 0) for an H100; None where nobody knows it.

    What the target says of itself, else what the device here has.
    """
    if target.device != "cuda":
        return None
    if target.compute_capability:
        major, _, minor = target.compute_capability.partition(".")
        return int(major), int(minor)
    return torch.cuda.get_device_capability() if torch.cuda.is_available() else None


def reasons(target: Target, variant: Variant) -> Iterator[str]:
    steps = {short_name(step): step for step in variant.steps if is_known(step)}
    provider = str(variant.session.get("provider", "CPUExecutionProvider" if "onnx_from_torch" in steps else ""))
    engine, gpu = "trt_from_onnx" in steps, target.device == "cuda"
    openvino = bool(OPENVINO & steps.keys())
    provider = "" if engine or openvino else provider
    tensorrt = engine or provider in TENSORRT_PROVIDERS
    runtime = "TensorRT" if tensorrt else provider
    if not gpu and (engine or provider in GPU_PROVIDERS):
        yield f"{runtime} needs an NVIDIA device and target {target.name} is a processor; take a cuda target"
    if gpu and openvino:
        yield f"OpenVINO runs on the processor and target {target.name} is an NVIDIA device; use trt_from_onnx"
    if gpu and provider == "CPUExecutionProvider":
        yield (
            f"target {target.name} is an NVIDIA device and ONNX Runtime would run on the processor; "
            "set session.provider to CUDAExecutionProvider"
        )
    yield from int8_reasons(target, steps.get("int8_from_onnx"), gpu)
    if tensorrt and "fused_from_onnx" in steps:
        yield f"fused operations are ONNX Runtime's own and {runtime} cannot run them; leave fused_from_onnx out"
    opset = int(steps.get("onnx_from_torch", {}).get("opset", 20))
    if tensorrt and opset > LARGEST_OPSET:
        yield f"{runtime} cannot build attention of opset {opset}; set onnx_from_torch's opset to 20"
    yield from type_reasons(steps, capability_of(target), engine, provider)


def int8_reasons(target: Target, step: Mapping[str, Any] | None, gpu: bool) -> Iterator[str]:
    if step is None:
        return
    for_tensorrt = step.get("layout", "onnxruntime") == "tensorrt"
    if gpu and not for_tensorrt:
        yield (
            f"int8 in ONNX Runtime's layout is for processors and target {target.name} is an NVIDIA device; "
            f"use {SYMMETRIC}"
        )
    if not gpu and for_tensorrt:
        yield (
            f"symmetric int8 is for TensorRT and target {target.name} is a processor, where it is slower than the "
            "processor's own layout; set int8_from_onnx's layout to onnxruntime"
        )


def type_reasons(
    steps: Mapping[str, Mapping[str, Any]], capability: tuple[int, int] | None, engine: bool, provider: str
) -> Iterator[str]:
    if "fp8_from_onnx" in steps and not engine:
        where = provider or "this runtime"
        yield f"fp8 pairs are fused by TensorRT alone, and {where} would compute in fp32; add trt_from_onnx"
    if capability is None:
        return
    shown = ".".join(map(str, capability))
    if "fp8_from_onnx" in steps and capability < FP8_SINCE:
        yield f"a device of compute capability {shown} has no fp8 (8.9 and later have); use int8_from_onnx"
    if steps.get("trt_from_onnx", {}).get("precision") == "bf16" and capability < BF16_SINCE:
        yield f"a device of compute capability {shown} has no bf16 (8.0 and later have); use fp16"


def is_known(step: Mapping[str, Any]) -> bool:
    """Whether a step names a converter of ours; what others do is theirs to know, whatever they call it."""
    name = str(step["use"])
    return "." not in name or is_ours("converter", name)


def short_name(step: Mapping[str, Any]) -> str:
    """`int8_from_onnx` of a step that names it shortly or by its dotted path."""
    return str(step["use"]).rpartition(".")[2]
