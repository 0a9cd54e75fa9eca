"""Graphs for processors stay off GPUs and the reverse, with the remedy in the message."""

import inspect
import re
from typing import Any

import pytest

from kd2deploy.core import Target, Variant
from kd2deploy.exporters.combinations import refusal, refusals
from kd2deploy.exporters.onnx import OnnxSession
from kd2deploy.exporters.tensorrt import TensorRTSession
from kd2deploy.exporters.torch import TorchSession
from kd2deploy.resolve import load_target

EXPORT = {"use": "onnx_from_torch", "opset": 20}
CPU_INT8 = {"use": "int8_from_onnx", "mode": "dynamic"}
GPU_INT8 = {"use": "kd2deploy.exporters.quantize.int8_from_onnx", "mode": "static", "layout": "tensorrt"}
ENGINE = {"use": "trt_from_onnx", "precision": "fp16"}
CUDA = {"provider": "CUDAExecutionProvider"}
cpu = Target("cpu", "a processor", "cpu", {})
gpu = Target("l4", "an NVIDIA L4", "cuda", {})


def variant(*steps: dict[str, Any], **session: Any) -> Variant:
    return Variant(steps, session)


@pytest.mark.parametrize(
    ("target", "one", "reason"),
    [
        (gpu, variant(EXPORT, CPU_INT8, **CUDA), r"int8 in ONNX Runtime's layout is for processors.*layout: tensorrt"),
        (gpu, variant(EXPORT, CPU_INT8, ENGINE), r"int8 in ONNX Runtime's layout is for processors"),
        (cpu, variant(EXPORT, GPU_INT8), r"symmetric int8 is for TensorRT.*layout to onnxruntime"),
        (cpu, variant(EXPORT, ENGINE), r"TensorRT needs an NVIDIA device.*take a cuda target"),
        (cpu, variant(EXPORT, **CUDA), r"CUDAExecutionProvider needs an NVIDIA device"),
        (gpu, variant(EXPORT), r"would run on the processor; set session.provider to CUDAExecutionProvider"),
        (gpu, variant(EXPORT, {"use": "openvino_from_onnx"}), r"OpenVINO runs on the processor"),
        (gpu, variant(EXPORT, {"use": "fused_from_onnx"}, ENGINE), r"leave fused_from_onnx out"),
        (gpu, variant({**EXPORT, "opset": 23}, ENGINE), r"attention of opset 23; set onnx_from_torch's opset to 20"),
        (
            gpu,
            variant({**EXPORT, "opset": 23}, provider="TensorrtExecutionProvider"),
            r"TensorRT cannot build attention of opset 23",
        ),
        (gpu, variant(EXPORT, {"use": "fp8_from_onnx"}, **CUDA), r"fused by TensorRT alone.*add trt_from_onnx"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_remedy(target: Target, one: Variant, reason: str) -> None:
    said = refusal(target, one)
    assert re.search(reason, said), said


@pytest.mark.parametrize(
    ("target", "one"),
    [
        (cpu, variant()),
        (cpu, variant(EXPORT, CPU_INT8)),
        (cpu, variant({**EXPORT, "opset": 23})),
        (cpu, variant(EXPORT, {"use": "fused_from_onnx"}, CPU_INT8)),
        (cpu, variant(EXPORT, {"use": "int8_from_onnx", "mode": "static"}, {"use": "openvino_from_onnx"})),
        (gpu, variant(dtype="fp16")),
        (gpu, variant({**EXPORT, "opset": 23}, {"use": "fused_from_onnx"}, **CUDA)),
        (gpu, variant(EXPORT, ENGINE)),
        (gpu, variant(EXPORT, GPU_INT8, ENGINE)),
        (gpu, variant(EXPORT, {"use": "fp8_from_onnx"}, ENGINE)),
    ],
)
def test_what_makes_sense_is_let_through(target: Target, one: Variant) -> None:
    assert refusal(target, one, (9, 0)) == ""


def test_types_that_the_device_lacks_are_refused() -> None:
    fp8, bf16 = variant(EXPORT, {"use": "fp8_from_onnx"}, ENGINE), variant(EXPORT, {**ENGINE, "precision": "bf16"})
    assert "compute capability 7.5 has no fp8" in refusal(gpu, fp8, (7, 5))
    assert "compute capability 8.6 has no fp8" in refusal(gpu, fp8, (8, 6))
    assert refusal(gpu, fp8, (8, 9)) == ""
    assert "compute capability 7.5 has no bf16" in refusal(gpu, bf16, (7, 5))
    assert refusal(gpu, bf16, (8, 0)) == ""
    assert refusal(gpu, fp8) == "", "where the device is unknown nothing is said of it"


def test_all_refusals_of_a_target_are_named() -> None:
    target = Target("l4", "", "cuda", {"good": variant(EXPORT, ENGINE), "bad": variant(EXPORT, CPU_INT8, ENGINE)})
    assert list(refusals(target)) == ["bad"]


CAPABILITIES = {"h100": (9, 0), "h200": (9, 0), "a100": (8, 0), "l4": (8, 9), "t4": (7, 5), "orin": (8, 7)}


@pytest.mark.parametrize("name", CAPABILITIES)
def test_a_gpu_profile_names_real_converters_and_nothing_its_device_lacks(name: str) -> None:
    target = load_target(name)
    assert (target.name, target.device) == (name, "cuda")
    assert refusals(target, CAPABILITIES[name]) == {}
    assert "Nothing was run on this device yet" in target.measured
    assert "tensorrt-fp16" in target.variants
    assert target.plan
    assert set(target.plan) <= set(target.variants)
    for one in target.variants.values():
        names = [step["use"] for step in one.steps]
        session = TorchSession if not names else TensorRTSession if "trt_from_onnx" in names else OnnxSession
        inspect.signature(session).bind("artifact", "task", "target", **one.session)
