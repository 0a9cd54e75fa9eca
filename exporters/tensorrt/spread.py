"""How far engines of one graph differ in speed from build to build."""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kd2deploy.core import Artifact, Feed, Target, Task, sha256_of
from kd2deploy.exporters.tensorrt.api import Built
from kd2deploy.exporters.tensorrt.session import TensorRTSession

SPREAD_RUNS, SPREAD_WARM_UP = 50, 10
"""Runs of each of several engines, for the spread between builds; the race measures the one that is kept."""


def speed_spread(
    built: Sequence[Built], artifact: Artifact, task: Task, target: Target, request: Feed, folder: Path
) -> dict[str, Any]:
    """Each build's cost, and where the device is here its median latency; `ratio` is slowest to fastest."""
    each = [one.facts() for one in built]
    if not artifact.details["settings"]["compute_capability"]:
        for at, one in enumerate(built):
            path = folder / f"build-{at}.engine"
            path.write_bytes(one.engine)
            again = dataclasses.replace(artifact, path=path, sha256=sha256_of(path))
            with TensorRTSession(again, task.ports, target) as session:
                each[at]["median_ms"] = _median_ms(session, request)
            path.unlink()
    times = [facts["median_ms"] for facts in each if "median_ms" in facts]
    return {"builds": each, "ratio": max(times) / min(times) if times else None}


def _median_ms(session: "TensorRTSession", feed: Feed) -> float:
    taken = []
    for _ in range(SPREAD_WARM_UP + SPREAD_RUNS):
        begun = time.perf_counter_ns()
        session.run(feed)
        taken.append((time.perf_counter_ns() - begun) / 1e6)
    return statistics.median(taken[SPREAD_WARM_UP:])
