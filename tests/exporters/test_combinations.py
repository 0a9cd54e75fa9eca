"""Graphs for processors stay off GPUs and the reverse, with the remedy in the message."""

import re
from dataclasses import replace
from typing import Any

import pytest

from kd2deploy.core import Target, Variant
from kd2deploy.core.arguments import taken_by
from kd2deploy.errors import RecipeError
from kd2deploy.exporters import _cpu
from kd2deploy.exporters.combinations import beyond_processor, capability_of, refusal, refusals, refuse_hopeless
from kd2deploy.exporters.onnx import OnnxSession
from kd2deploy.exporters.tensorrt import TensorRTSession
from kd2deploy.exporters.torch import TorchSession
from kd2deploy.recipe.resolve import load_target
from kd2deploy.stages.convert import missing

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
        (gpu, variant(EXPORT, {"use": "theirs.int8_from_onnx"}, **CUDA)),
    ],
)
def test_what_makes_sense_is_let_through(target: Target, one: Variant) -> None:
    assert refusal(replace(target, compute_capability="9.0"), one) == ""


def test_types_that_the_device_lacks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fp8, bf16 = variant(EXPORT, {"use": "fp8_from_onnx"}, ENGINE), variant(EXPORT, {**ENGINE, "precision": "bf16"})
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    def at(capability: str) -> Target:
        return replace(gpu, compute_capability=capability)

    assert "compute capability 7.5 has no fp8" in refusal(at("7.5"), fp8)
    assert "compute capability 8.6 has no fp8" in refusal(at("8.6"), fp8)
    assert refusal(at("8.9"), fp8) == ""
    assert "compute capability 7.5 has no bf16" in refusal(at("7.5"), bf16)
    assert refusal(at("8.0"), bf16) == ""
    assert refusal(gpu, fp8) == "", "where the device is unknown nothing is said of it"


def test_bf16_is_refused_on_a_processor_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one = variant(EXPORT, {"use": "openvino_from_onnx"}, precision="bf16")
    for flags, refused in (({"avx2"}, True), ({"avx2", "avx512_bf16"}, False), ({"asimd", "bf16"}, False), ((), False)):
        monkeypatch.setattr(_cpu, "cpu_flags", lambda flags=flags: frozenset(flags))
        said = "this processor (avx2) has no instructions for bf16; set session.precision to f32"
        assert beyond_processor(one) == (said if refused else "")
        assert missing(one) == beyond_processor(one)
        assert beyond_processor(variant(EXPORT, {"use": "openvino_from_onnx"}, precision="f32")) == ""
    assert refusal(cpu, one) == "", "another processor of the target may have it"


def test_a_target_that_does_not_say_its_capability_has_that_of_the_device_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (7, 5))
    assert capability_of(gpu) == (7, 5)
    assert capability_of(replace(gpu, compute_capability="12.0")) == (12, 0)
    assert capability_of(cpu) is None
    with pytest.raises(ValueError, match=r"two numbers such as 9.0, got 'sm_90'"):
        replace(gpu, compute_capability="sm_90")


def test_all_refusals_of_a_target_are_named() -> None:
    target = Target("l4", "", "cuda", {"good": variant(EXPORT, ENGINE), "bad": variant(EXPORT, CPU_INT8, ENGINE)})
    assert list(refusals(target)) == ["bad"]


def test_a_target_whose_every_variant_is_refused_is_a_fault_of_the_recipe() -> None:
    hopeless = Target("mine", "", "cuda", {"int8": variant(EXPORT, CPU_INT8, ENGINE), "plain": variant(EXPORT)})
    with pytest.raises(RecipeError) as caught:
        refuse_hopeless([cpu_target(), hopeless])
    assert [fault.path for fault in caught.value.faults] == [
        "target mine: variants.int8",
        "target mine: variants.plain",
    ]
    assert "set session.provider to CUDAExecutionProvider" in str(caught.value)
    refuse_hopeless([replace(hopeless, variants={**hopeless.variants, "engine": variant(EXPORT, ENGINE)})])


def cpu_target() -> Target:
    return replace(cpu, variants={"onnx": variant(EXPORT)})


CAPABILITIES = {"h100": (9, 0), "h200": (9, 0), "a100": (8, 0), "l4": (8, 9), "t4": (7, 5), "orin": (8, 7)}


@pytest.mark.parametrize("name", CAPABILITIES)
def test_a_gpu_profile_names_real_converters_and_nothing_its_device_lacks(name: str) -> None:
    target = load_target(name)
    assert (target.name, target.device, target.device_name.lower()) == (name, "cuda", name)
    assert capability_of(target) == CAPABILITIES[name]
    assert refusals(target) == {}
    assert target.measured
    assert "tensorrt-fp16" in target.variants
    assert target.plan
    assert set(target.plan) <= set(target.variants)
    for one in target.variants.values():
        names = [step["use"] for step in one.steps]
        session = TorchSession if not names else TensorRTSession if "trt_from_onnx" in names else OnnxSession
        assert set(one.session) <= set(taken_by(session, 3))
