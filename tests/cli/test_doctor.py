"""What doctor says of the libraries that need a driver; the rest of it runs as a command in test_commands."""

import importlib.util
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
    found = [check() for check in (*doctor.tensorrt_checks(), doctor.nvml_answers)]
    assert [(good, name) for good, name, _ in found] == [(True, "tensorrt"), (True, "tensorrt_rtx"), (True, "NVML")]
    assert all("not installed: pip install" in said for _, _, said in found)


@pytest.mark.usefixtures("here")
def test_a_library_that_does_not_load_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise SessionError("tensorrt cannot be loaded (libcuda.so.1)")

    monkeypatch.setattr(doctor, "load", broken)
    assert doctor.tensorrt_works("tensorrt") == (False, "tensorrt", "tensorrt cannot be loaded (libcuda.so.1)")


@pytest.mark.usefixtures("here")
def test_a_library_without_a_driver_is_told_from_one_with(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(version="11.4.0", builds_without_device=False)
    monkeypatch.setattr(doctor, "load", lambda name: library)
    monkeypatch.setattr(doctor, "driver_version", lambda: "")
    assert "11.4.0, no driver answers: engines do not run here" in doctor.tensorrt_works("tensorrt")[2]
    monkeypatch.setattr(doctor, "driver_version", lambda: "580.95.05")
    assert doctor.tensorrt_works("tensorrt")[2] == "11.4.0, driver 580.95.05"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a driver answers here")
def test_nvml_without_a_driver() -> None:
    good, _, said = doctor.nvml_answers()
    assert good
    assert "no driver answers" in said


def test_nvml_with_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(nvmlSystemGetDriverVersion=lambda: "580.95.05", nvmlDeviceGetCount=lambda: 2)
    monkeypatch.setattr(doctor, "nvml", lambda: library)
    assert doctor.nvml_answers() == (True, "NVML", "driver 580.95.05, 2 devices")
