"""A device's times, counted with a clock that the stand-ins for stream, events and session move."""

from typing import Any

import numpy as np
import pytest
import torch

from kd2deploy.core import Feed, Resident
from kd2deploy.core.device_times import DeviceTimes
from kd2deploy.measure.device_time import device_memory_mb, device_times

FEEDS = [{"x": np.zeros((1, size), np.float32)} for size in (10, 20, 60)]


class Stream:
    """Work is issued at once and done when it is waited for."""

    def __init__(self) -> None:
        self.now_ns, self.done_ns = 0, 0

    def clock(self) -> int:
        return self.now_ns

    def issue(self, host_us: int, device_us: int) -> None:
        self.now_ns += 1000 * host_us
        self.done_ns = max(self.done_ns, self.now_ns) + 1000 * device_us

    def synchronize(self) -> None:
        self.now_ns = max(self.now_ns, self.done_ns)


class Event:
    def record(self, stream: Stream) -> None:
        self.at_ns = max(stream.now_ns, stream.done_ns)

    def elapsed_time(self, end: "Event") -> float:
        return (end.at_ns - self.at_ns) / 1e6


class Session:
    """Copies take 1 us per number each way; the compute is issued in 5 us and takes 100 us."""

    def __init__(self) -> None:
        self.stream = Stream()

    def place(self, feed: Feed) -> int:
        numbers = int(feed["x"].size)
        self.stream.issue(0, numbers)
        return numbers

    def compute(self, placed: int, *, wait: bool = True) -> None:
        self.stream.issue(5, 100)
        if wait:
            self.stream.synchronize()

    def fetch(self, placed: int) -> dict[str, np.ndarray[Any, Any]]:
        self.stream.issue(0, placed)
        self.stream.synchronize()
        return {}


def times(session: Session, runs: int) -> DeviceTimes:
    return device_times(session, FEEDS, runs=runs, event=Event, clock=session.stream.clock)


def test_issuing_computing_and_copying_are_told_apart() -> None:
    session = Session()
    assert isinstance(session, Resident)
    found = times(session, 1)
    assert (found.enqueue_ms, found.gpu_ms) == pytest.approx((0.005, 0.105))
    assert (found.compute_ms, found.copy_ms) == pytest.approx((0.105, 0.020))


def test_they_are_medians_over_the_requests() -> None:
    assert times(Session(), 3).copy_ms == pytest.approx(0.040)


def test_device_memory_is_that_in_use_by_anyone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (60_000_000_000, 80_000_000_000))
    assert device_memory_mb("cuda") == 20_000
    assert device_memory_mb("cpu") == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_memory_mb("cuda") == 0
