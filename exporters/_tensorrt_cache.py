"""What an engine was built for, and whether it may be used here: engines belong to one library, driver and device."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kd2deploy.exporters._tensorrt_api import Library, Settings, ShapeRange

DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Place:
    """The library and the device that an engine is tied to."""

    library: str
    version: str
    device: str
    """The device's name; empty for an engine built for a kind of device that is not here."""
    compute_capability: str
    driver: str
    """The display driver's version; empty where the engine was built without one."""

    @property
    def digest(self) -> str:
        return _digest(dataclasses.asdict(self))

    def mismatch(self, here: "Place") -> str:
        """In which ways an engine built for this place is stale at another; empty where it is not."""
        said = [
            f"{field.name.replace('_', ' ')} was {mine}, is {theirs}"
            for field in dataclasses.fields(self)
            if (mine := getattr(self, field.name)) and mine != (theirs := getattr(here, field.name))
        ]
        return "; ".join(said)


def place_here(library: Library, compute_capability: str = "") -> Place:
    """This machine's device; or, where a capability is given, any device that has it."""
    if compute_capability:
        return Place(library.name, library.version, "", compute_capability, "")
    major, minor = torch.cuda.get_device_capability()
    return Place(library.name, library.version, torch.cuda.get_device_name(), f"{major}.{minor}", driver_version())


def driver_version(file: Path = DRIVER) -> str:
    """The NVIDIA driver's version as the kernel module states it; empty where there is none."""
    found = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", file.read_text()) if file.is_file() else None
    return found.group(1) if found else ""


def engine_key(graph: bytes, place: Place, shapes: Mapping[str, ShapeRange], settings: Settings) -> str:
    """Equal keys mean that the same engine would be built again: graph, library, driver, device, shapes, settings."""
    return _digest(
        {
            "graph": hashlib.sha256(graph).hexdigest(),
            "place": dataclasses.asdict(place),
            "shapes": {name: dataclasses.asdict(shape) for name, shape in shapes.items()},
            "settings": {**dataclasses.asdict(settings), "flags": sorted(settings.flags)},
        }
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
