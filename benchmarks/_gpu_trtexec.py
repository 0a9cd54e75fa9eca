"""TensorRT's own `trtexec` on an engine of ours: does our session cost more than the engine does?

Not run on a device yet.
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _gpu_timing import Call, Protocol, block, warm

PROGRAM = "trtexec"
TIMEOUT_S = 60
NUMBER = r"([0-9.]+(?:e[+-]?[0-9]+)?)"


def compared(
    compute: Call, engine: Path, shapes: Mapping[str, Sequence[int]], major: int, protocol: Protocol
) -> dict[str, Any]:
    """Medians of both in milliseconds. Ours is taken before and after theirs, so that a drift shows.

    Ours is from the host's call to the host's answer; theirs is the device's own clock, and it enqueues one request
    ahead: what launching and waiting cost is in ours alone.
    """
    asked = command(engine, shapes, major, protocol)
    warm(compute, protocol)
    before = own(compute, protocol)
    said = subprocess.run(asked, capture_output=True, text=True, timeout=TIMEOUT_S)
    if said.returncode:
        lines = (said.stdout + said.stderr).strip().splitlines()
        raise RuntimeError(f"{PROGRAM} left with {said.returncode}: {' / '.join(lines[-3:])}")
    theirs = medians(said.stdout)
    warm(compute, protocol)
    after = own(compute, protocol)
    ours = float(np.median([*before, *after]))
    return {
        "ours_ms": ours,
        "ours_before_ms": float(np.median(before)),
        "ours_after_ms": float(np.median(after)),
        **theirs,
        "ours_over_latency": ours / theirs["trtexec_latency_ms"],
        "command": " ".join(asked),
    }


def own(compute: Call, protocol: Protocol) -> list[float]:
    return [ms for _ in range(2 * protocol.rounds) for ms in block(compute, protocol)]


def command(engine: Path, shapes: Mapping[str, Sequence[int]], major: int, protocol: Protocol) -> list[str]:
    """A recorded graph and no copies, as our session computes: from version 11 on that is what it does unasked."""
    sizes = ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
    asked = [PROGRAM, f"--loadEngine={engine}", f"--shapes={sizes}"]
    asked += [
        f"--warmUp={1e3 * protocol.warm_s:.0f}",
        "--iterations=64",
        f"--duration={max(1, round(protocol.seconds))}",
    ]
    return asked if major >= 11 else [*asked, "--useCudaGraph", "--noDataTransfers"]


def medians(printed: str) -> dict[str, float]:
    """Its medians in milliseconds. Raises ValueError where it printed something else."""
    found = {}
    for name, title in (("trtexec_latency_ms", "Latency"), ("trtexec_compute_ms", "GPU Compute Time")):
        line = re.search(rf"\] {title}: min = .*?\bmedian = {NUMBER} ms", printed)
        if line is None:
            raise ValueError(f"{PROGRAM} printed no median of its {title}: is this a version that prints otherwise?")
        found[name] = float(line.group(1))
    return found
