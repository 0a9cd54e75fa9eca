"""NVML asked by its own package's names; its answers are made up here, where no driver is."""

import ctypes
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from kd2deploy.measure.nvidia import device_state, handle_of, told_of

UUID = "11111111-2222-3333-4444-555555555555"
ANSWERS = {
    "nvmlDeviceGetHandleByUUID": "handle",
    "nvmlDeviceGetClockInfo": 1980,
    "nvmlDeviceGetPowerUsage": 300_000,
    "nvmlDeviceGetEnforcedPowerLimit": 350_000,
    "nvmlDeviceGetPowerManagementDefaultLimit": 700_000,
    "nvmlDeviceGetMigMode": [0, 0],
    "nvmlDeviceGetTemperature": 60,
    "nvmlDeviceGetCurrentClocksEventReasons": pynvml.nvmlClocksEventReasonSwPowerCap
    | pynvml.nvmlClocksEventReasonGpuIdle,
    "nvmlDeviceGetViolationStatus": SimpleNamespace(violationTime=5),
    "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=8), SimpleNamespace(pid=7), SimpleNamespace(pid=7)],
}


@dataclass
class Driver:
    """The package's own constants and error, and functions that answer `ANSWERS`; what is `unsupported` raises."""

    unsupported: frozenset[str] = frozenset()
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        real = getattr(pynvml, name)  # an AttributeError where NVML knows no such name
        if not name.startswith("nvmlDevice"):
            return real

        def ask(*given: Any) -> Any:
            self.asked.append((name, *given))
            if name in self.unsupported or name not in ANSWERS:
                raise pynvml.NVMLError_NotSupported
            return ANSWERS[name]

        return ask


def test_all_that_a_device_tells() -> None:
    assert told_of(Driver(), "handle") == {
        "sm_mhz": 1980,
        "memory_mhz": 1980,
        "watts": pytest.approx(300.0),
        "watts_cap": pytest.approx(350.0),
        "watts_default": pytest.approx(700.0),
        "mig": False,
        "celsius": 60,
        "throttled": "power cap",
        "slowed_ns": {"power cap": 5, "temperature": 5},
        "pids": [7, 8],
    }


@pytest.mark.parametrize("name", sorted(set(ANSWERS) - {"nvmlDeviceGetHandleByUUID"}))
def test_what_a_device_does_not_support_is_left_out_and_the_rest_is_told(name: str) -> None:
    whole, found = told_of(Driver(), "handle"), told_of(Driver(frozenset({name})), "handle")
    assert found.items() <= whole.items()
    assert "mig" in found


def test_a_device_is_found_by_its_own_uuid_and_a_slice_by_its() -> None:
    device, slice_ = Driver(), Driver(frozenset({"nvmlDeviceGetHandleByUUID"}))
    assert handle_of(device, SimpleNamespace(uuid=UUID)) == "handle"
    assert device.asked == [("nvmlDeviceGetHandleByUUID", f"GPU-{UUID}")]
    assert handle_of(slice_, SimpleNamespace(uuid=UUID)) is None
    assert slice_.asked[1] == ("nvmlDeviceGetHandleByUUID", f"MIG-{UUID}")


@pytest.mark.parametrize("library", [None, Driver(frozenset({"nvmlDeviceGetHandleByUUID"}))])
def test_without_nvml_the_name_is_all(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_name", lambda place: "NVIDIA L4")
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda place: SimpleNamespace(uuid=UUID))
    monkeypatch.setattr("kd2deploy.measure.nvidia.nvml", lambda: library)
    assert device_state() == {"name": "NVIDIA L4"}


def test_this_process_holds_the_device_before_it_asks_who_does(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr("torch.cuda.get_device_name", lambda place: "NVIDIA L4")
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda place: SimpleNamespace(uuid=UUID))
    monkeypatch.setattr("kd2deploy.measure.nvidia.nvml", lambda: driver)
    monkeypatch.setattr("torch.zeros", lambda *sizes, device: driver.asked.append(("zeros", device)))
    assert device_state()["pids"] == [7, 8]
    asked = [name for name, *_ in driver.asked]
    assert asked.index("zeros") < asked.index("nvmlDeviceGetComputeRunningProcesses")


def test_violations_are_counted_in_a_field_of_that_name() -> None:
    assert ("violationTime", ctypes.c_ulonglong) in pynvml.c_nvmlViolationTime_t._fields_
