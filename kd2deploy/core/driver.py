"""The NVIDIA driver: its management library (NVML) and its version."""

import re
from pathlib import Path
from typing import Any

KERNEL_MODULE = Path("/proc/driver/nvidia/version")


def nvml() -> Any | None:
    """NVML, opened; None where its package (nvidia-ml-py) is not installed or no driver answers."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def driver_version(file: Path = KERNEL_MODULE) -> str:
    """The driver's version as its kernel module states it, else as NVML does; empty where there is no driver."""
    found = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", file.read_text()) if file.is_file() else None
    if found:
        return found.group(1)
    library = nvml()
    return str(library.nvmlSystemGetDriverVersion()) if library is not None else ""
