"""What ONNX Runtime's providers for NVIDIA devices are told; they load on their device alone."""

from pathlib import Path

import pytest
from conftest import Case

from kd2deploy.core import Artifact
from kd2deploy.exporters.combinations import GPU_PROVIDERS, TENSORRT_PROVIDERS
from kd2deploy.exporters.onnx import OnnxSession, Running
from kd2deploy.exporters.onnx.providers import (
    CUDA_GRAPH_OPTION,
    DEFAULTS,
    DEVICE_OF,
    PREFIX,
    computed_in,
    engine_options,
)
from kd2deploy.exporters.onnx.session import _engine_options
from kd2deploy.exporters.shapes import ShapeRange

RANGES = {"input_ids": ShapeRange((1, 1), (1, 20), (32, 64)), "pixels": ShapeRange((1, 3), (1, 3), (32, 3))}


def test_an_engine_is_built_for_the_range_and_kept() -> None:
    assert engine_options("TensorrtExecutionProvider", RANGES, Path("cache")) == {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "cache",
        "trt_profile_min_shapes": "input_ids:1x1,pixels:1x3",
        "trt_profile_opt_shapes": "input_ids:1x20,pixels:1x3",
        "trt_profile_max_shapes": "input_ids:32x64,pixels:32x3",
    }
    found = engine_options("NvTensorRTRTXExecutionProvider", RANGES, Path("cache"))
    assert found["nv_runtime_cache_path"] == "cache"
    assert found["nv_profile_opt_shapes"] == "input_ids:1x20,pixels:1x3"
    assert not any(name.startswith("trt") for name in found)


def test_engines_are_kept_by_the_files_hash_and_outside_of_it(
    text: Case, plain: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KD2DEPLOY_CACHE", str(tmp_path))
    shapes = {"batch_size": [1, 1, 32], "sequence_length": [1, 8, 32]}
    found = _engine_options("TensorrtExecutionProvider", plain, text.task, shapes)
    assert found["trt_engine_cache_path"] == str(tmp_path / "onnxruntime" / plain.sha256[:16])
    assert Path(found["trt_engine_cache_path"]).is_dir()
    assert found["trt_profile_max_shapes"].startswith("input_ids:32x32,")
    assert _engine_options("CUDAExecutionProvider", plain, text.task, shapes) == {}


@pytest.mark.parametrize(
    ("held", "options", "computed"),
    [
        ("fp32", {}, "fp32"),
        ("fp32", {"trt_fp16_enable": "1"}, "fp16"),
        ("fp32", {"trt_fp16_enable": "True", "trt_int8_enable": "0"}, "fp16"),
        ("fp32", {"trt_bf16_enable": "1"}, "bf16"),
        ("int8", {"trt_fp16_enable": "1"}, "int8"),
        ("fp16", {}, "fp16"),
    ],
)
def test_a_session_says_what_it_computes_in(held: str, options: dict[str, str], computed: str) -> None:
    assert computed_in(held, options) == computed


def test_fp32_means_fp32_on_cuda() -> None:
    assert DEFAULTS["CUDAExecutionProvider"] == {"use_tf32": "0"}
    assert set(DEVICE_OF) == set(CUDA_GRAPH_OPTION) == GPU_PROVIDERS
    assert set(PREFIX) == TENSORRT_PROVIDERS


def test_a_session_says_what_its_provider_was_told(text: Case, plain: Artifact) -> None:
    told = {"use_arena": "1"}
    with OnnxSession(plain, text.task.ports, text.target, options=Running(provider_options=told)) as session:
        assert session.describe()["provider_options"] == "use_arena 1"
        assert session.describe()["precision"] == "fp32"
