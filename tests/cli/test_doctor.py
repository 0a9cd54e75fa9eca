"""What doctor says of the libraries that need a driver; the rest of it runs as a command in test_commands."""

import importlib.util
import re
from types import SimpleNamespace

import pytest
import torch

from kd2deploy.cli import doctor
from kd2deploy.errors import SessionError


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every library can be found."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


def test_a_library_that_is_not_installed_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "installed", lambda name: False)
    checks = (doctor.onnxruntime_builds, doctor.openvino_works, *doctor.tensorrt_checks(), doctor.nvml_answers)
    found = [check() for check in checks]
    assert [name for _, name, _ in found] == ["ONNX Runtime", "OpenVINO", "tensorrt", "tensorrt_rtx", "NVML"]
    assert {stands for stands, _, _ in found} == {"absent"}, "what is not there is neither ok nor broken"
    for _, name, said in found:
        assert re.match(r"not installed, needed (to|for) [^:]+: pip install ", said), name


@pytest.mark.usefixtures("here")
def test_a_library_that_does_not_load_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise SessionError("tensorrt cannot be loaded (libcuda.so.1)")

    monkeypatch.setattr(doctor, "load", broken)
    assert doctor.tensorrt_works("tensorrt") == ("FAIL", "tensorrt", "tensorrt cannot be loaded (libcuda.so.1)")


@pytest.mark.usefixtures("here")
def test_a_library_without_a_driver_is_told_from_one_with(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(version="11.4.0", builds_without_device=False)
    monkeypatch.setattr(doctor, "load", lambda name: library)
    monkeypatch.setattr(doctor, "driver_version", lambda: "")
    said = "11.4.0, no driver answers: engines do not run here"
    assert doctor.tensorrt_works("tensorrt") == ("absent", "tensorrt", said)
    library.builds_without_device = True
    assert doctor.tensorrt_works("tensorrt_rtx")[0] == "ok", "it builds here what runs elsewhere"
    library.builds_without_device = False
    monkeypatch.setattr(doctor, "driver_version", lambda: "580.95.05")
    assert doctor.tensorrt_works("tensorrt") == ("ok", "tensorrt", "11.4.0, driver 580.95.05")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a driver answers here")
def test_nvml_without_a_driver() -> None:
    stands, _, said = doctor.nvml_answers()
    assert stands == "absent"
    assert "no driver answers" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="a device is here")
def test_pytorch_without_a_device_says_what_that_means() -> None:
    assert doctor.cuda_works() == ("absent", "CUDA in PyTorch", "no device: networks are trained on the processor")


def test_nvml_with_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(nvmlSystemGetDriverVersion=lambda: "580.95.05", nvmlDeviceGetCount=lambda: 2)
    monkeypatch.setattr(doctor, "nvml", lambda: library)
    assert doctor.nvml_answers() == ("ok", "NVML", "driver 580.95.05, 2 devices")
