"""Where a device's time and memory go, request by request."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceTimes:
    """Medians in ms over requests of a session with a stream. They explain the latency and are no part of it."""

    enqueue_ms: float
    """The host issues the computation without waiting."""
    gpu_ms: float
    """Between two events around it on the session's own stream."""
    compute_ms: float
    """The host issues it and waits."""
    copy_ms: float
    """Inputs to the device, and outputs back."""
