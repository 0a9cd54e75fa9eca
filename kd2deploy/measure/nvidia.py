"""What an NVIDIA device is doing: clocks, power, heat, what slows it, and who else holds it. Told by NVML.

Not run on a device yet: the tests know NVML's names from its package and its answers from NVIDIA's documentation.
"""

from collections.abc import Callable
from typing import Any

import torch

from kd2deploy.core import nvml

SLOWING = {
    "power cap": "nvmlClocksEventReasonSwPowerCap",
    "hardware": "nvmlClocksEventReasonHwSlowdown",
    "temperature": "nvmlClocksEventReasonSwThermalSlowdown",
}
"""Reasons for a lower clock that are not the device's own choice when it has nothing to do."""
COUNTED = {"power cap": "NVML_PERF_POLICY_POWER", "temperature": "NVML_PERF_POLICY_THERMAL"}
"""Reasons whose time the driver adds up."""


def device_state(place: int = 0) -> dict[str, Any]:
    """The device's name, and what NVML tells of it; virtual devices and Jetsons tell less, and what they do not is left
    out.

    `pids` are the processes that hold the device, this one among them: it allocates on the device before it asks.
    """
    found: dict[str, Any] = {"name": torch.cuda.get_device_name(place)}
    library = nvml()
    handle = handle_of(library, torch.cuda.get_device_properties(place)) if library is not None else None
    if handle is None:
        return found
    torch.zeros(1, device=f"cuda:{place}")
    return {**found, **told_of(library, handle)}


def handle_of(library: Any, properties: Any) -> Any | None:
    """NVML's handle of a CUDA device, or of a slice (MIG) of one; None where it knows neither.

    By UUID: CUDA counts only the devices that are visible to it, and may count them in another order.
    """
    whole = _told(library, library.nvmlDeviceGetHandleByUUID, f"GPU-{properties.uuid}")
    return whole if whole is not None else _told(library, library.nvmlDeviceGetHandleByUUID, f"MIG-{properties.uuid}")


def told_of(library: Any, handle: Any) -> dict[str, Any]:
    """All that NVML tells of one device."""

    def told(ask: Callable[..., Any], *more: Any) -> Any | None:
        return _told(library, ask, handle, *more)

    watts, reasons = 1e-3, told(library.nvmlDeviceGetCurrentClocksEventReasons)
    holding = told(library.nvmlDeviceGetComputeRunningProcesses)
    mode = told(library.nvmlDeviceGetMigMode)
    slowed = {
        cause: found.violationTime
        for cause, policy in COUNTED.items()
        if (found := told(library.nvmlDeviceGetViolationStatus, getattr(library, policy))) is not None
    }
    found = {
        "sm_mhz": told(library.nvmlDeviceGetClockInfo, library.NVML_CLOCK_SM),
        "memory_mhz": told(library.nvmlDeviceGetClockInfo, library.NVML_CLOCK_MEM),
        "watts": _scaled(told(library.nvmlDeviceGetPowerUsage), watts),
        "watts_cap": _scaled(told(library.nvmlDeviceGetEnforcedPowerLimit), watts),
        "watts_default": _scaled(told(library.nvmlDeviceGetPowerManagementDefaultLimit), watts),
        "mig": bool(mode[0]) if mode is not None else bool(told(library.nvmlDeviceIsMigDeviceHandle)),
        "celsius": told(library.nvmlDeviceGetTemperature, library.NVML_TEMPERATURE_GPU),
        "throttled": ", ".join(word for word, bit in SLOWING.items() if reasons & getattr(library, bit))
        if reasons is not None
        else None,
        "slowed_ns": slowed or None,
        "pids": sorted({process.pid for process in holding}) if holding is not None else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _told(library: Any, ask: Callable[..., Any], *given: Any) -> Any | None:
    """What NVML answers; None where the device or the driver does not support the question."""
    try:
        return ask(*given)
    except library.NVMLError:
        return None


def _scaled(value: int | None, unit: float) -> float | None:
    return value * unit if value is not None else None
