"""What an engine was built for, and whether it may be used here: engines belong to one library, driver and device."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kd2deploy.core import driver_version, sha256_of
from kd2deploy.errors import ConvertError
from kd2deploy.exporters.shapes import ShapeRange
from kd2deploy.exporters.tensorrt.api import Library, Settings


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


@dataclass(frozen=True)
class Store:
    """Finished engines by their key, and the tactic timings of one library on one device; None keeps nothing."""

    folder: Path | None
    place: Place

    def engine(self, key: str) -> tuple[bytes, dict[str, Any]] | None:
        """The engine kept under a key with its facts, or None. Raises ConvertError where its bytes were changed."""
        if self.folder is None or not (record := self.folder / f"{key}.json").is_file():
            return None
        facts = json.loads(record.read_text(encoding="utf-8"))
        path = self.folder / f"{key}.engine"
        if not path.is_file() or sha256_of(path) != facts["sha256"]:
            raise ConvertError(f"{path} is not the engine that was kept; delete it and {record.name} to build it anew")
        return path.read_bytes(), facts["build"]

    def keep(self, key: str, engine: bytes, facts: Mapping[str, Any]) -> None:
        if self.folder is None:
            return
        path = self.folder / f"{key}.engine"
        _write_whole(path, engine)
        record = {"sha256": sha256_of(path), "place": dataclasses.asdict(self.place), "build": dict(facts)}
        _write_whole(path.with_suffix(".json"), json.dumps(record, indent=2).encode())

    def timings(self) -> bytes:
        path = self._timings
        return path.read_bytes() if path is not None and path.is_file() else b""

    def keep_timings(self, timings: bytes) -> None:
        if self._timings is not None:
            _write_whole(self._timings, timings)

    @property
    def _timings(self) -> Path | None:
        return self.folder / f"timings-{self.place.digest[:16]}.bin" if self.folder is not None else None


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.new")
    aside.write_bytes(content)
    aside.replace(path)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
