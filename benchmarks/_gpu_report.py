"""What was found so far, whole on disk after every part."""

import importlib.metadata
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _gpu_children import write
from _gpu_shares import Work, shares, types_of

RUNTIME_PACKAGES = ("onnxruntime", "tensorrt", "triton", "nvidia-cu", "torch")
"""Beginnings of the names of packages that decide a figure."""
PROTOCOL = (
    "Each part in a process of its own. A teacher and its students are open in one process per runtime, and are timed "
    "in rounds there and back (A B B A) after a warm-up by time and count; intervals are of that one process.",
    "One host clock around a call that waits for the device: device_ms is the computation with inputs and outputs on "
    "the device (null where a session computes on the caller's arrays), host_ms is from the host's arrays to the "
    "host's arrays. P90 is null below the samples that it needs.",
    "Engines of different groups are built at once, `builders` at a time: one that is built alone may be faster.",
    "Shares are of device_ms, or of host_ms where that is null.",
)


class Report:
    """`found` is the JSON; parts are merged into it."""

    def __init__(self, path: Path, **head: Any) -> None:
        self.path = path
        self.found: dict[str, Any] = {
            "benchmark": "gpu",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            **head,
            "protocol": PROTOCOL,
            "packages": packages(),
            "networks": {},
            "distillation": {},
            "latency": [],
            "faster": [],
            "trtexec": [],
            "sessions": [],
            "parts": [],
            "left_out": [],
        }
        self.write()

    def merge(self, part: Mapping[str, Any]) -> None:
        """Lists grow, objects are filled, anything else is set. Latencies get their shares."""
        for name, value in part.items():
            if isinstance(value, list):
                self.found.setdefault(name, []).extend(value)
            elif isinstance(value, dict):
                self.found.setdefault(name, {}).update(value)
            else:
                self.found[name] = value
        for entry in part.get("latency", ()):
            entry.update(self.shares(entry))
        self.write()

    def leave_out(self, reason: str, **entry: Any) -> None:
        self.merge({"left_out": [{**entry, "reason": reason}]})

    def shares(self, entry: Mapping[str, Any]) -> dict[str, float | None]:
        network, peaks = self.found["networks"].get(entry["network"]), self.found.get("peaks")
        if network is None or peaks is None:
            return {"matmul_share": None, "weights_bandwidth_share": None}
        seconds = (entry["device_ms"] or entry["host_ms"])["median"] / 1e3
        types = types_of(entry["runtime"])
        return shares(Work(**network["work"]), types, entry["batch"], seconds, peaks)

    def write(self) -> None:
        write(self.found, self.path)


def packages() -> dict[str, str]:
    """Versions, by the packages' names, beyond those that the machine's description has."""
    found = {one.name.lower().replace("_", "-"): one.version for one in importlib.metadata.distributions()}
    return {name: version for name, version in sorted(found.items()) if name.startswith(RUNTIME_PACKAGES)}
