"""The driver's version, from its kernel module or from NVML; NVML itself comes with a driver only."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kd2deploy.core import driver_version, nvml


def test_the_driver_is_read_as_the_kernel_module_states_it(tmp_path: Path) -> None:
    file = tmp_path / "version"
    file.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\nGCC version: 13.2.0\n"
    )
    assert driver_version(file) == "580.95.05"


def test_nvml_states_it_where_the_kernel_module_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(nvmlSystemGetDriverVersion=lambda: "575.51.02")
    monkeypatch.setattr("kd2deploy.core.driver.nvml", lambda: library)
    assert driver_version(tmp_path / "none") == "575.51.02"
    monkeypatch.setattr("kd2deploy.core.driver.nvml", lambda: None)
    assert driver_version(tmp_path / "none") == ""


def test_nvml_is_none_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml() is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="a driver answers here")
def test_nvml_is_none_without_a_driver() -> None:
    assert nvml() is None
