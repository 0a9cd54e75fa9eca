"""Where a device's time and memory go, request by request: issuing work, computing, copying.

An explanation of the latency, never the latency: a request comes from the host and is answered there.
Not run on a device yet: the tests count with a stand-in for the stream and its events.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from kd2deploy.core import Feed, Resident
from kd2deploy.core.device_times import DeviceTimes

RUNS = 100
Event = Callable[[], Any]
"""Makes a `torch.cuda.Event` that keeps its time."""


def timing_event() -> Any:
    import torch  # a process that works on no device need not wait for it

    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def device_times(
    session: Resident,
    feeds: Sequence[Feed],
    *,
    runs: int = RUNS,
    event: Event = timing_event,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> DeviceTimes:
    """Medians over `runs` requests of a session with a stream."""
    taken = [asdict(_request_times(session, feeds[turn % len(feeds)], event, clock)) for turn in range(runs)]
    return DeviceTimes(**{name: float(np.median([one[name] for one in taken])) for name in taken[0]})


def _request_times(session: Resident, feed: Feed, event: Event, clock: Callable[[], int]) -> DeviceTimes:
    first, last = event(), event()
    begun = clock()
    placed = session.place(feed)
    session.stream.synchronize()
    there = clock()
    first.record(session.stream)
    issuing = clock()
    session.compute(placed, wait=False)
    issued = clock()
    last.record(session.stream)
    session.stream.synchronize()
    done = clock()
    session.fetch(placed)
    answered = clock()
    return DeviceTimes(
        enqueue_ms=(issued - issuing) / 1e6,
        gpu_ms=first.elapsed_time(last),
        compute_ms=(done - issuing) / 1e6,
        copy_ms=(there - begun + answered - done) / 1e6,
    )


def device_memory_mb(device: Literal["cpu", "cuda"]) -> float:
    """MB in use on the device by anyone, this process's CUDA context included; 0 where there is none."""
    if device == "cpu":
        return 0.0
    import torch

    if not torch.cuda.is_available():
        return 0.0
    free, whole = torch.cuda.mem_get_info()
    return (whole - free) / 1e6
