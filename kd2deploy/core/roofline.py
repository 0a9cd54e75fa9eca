"""What a machine can do at most, as measured there, and how near a timed artifact comes to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Bound = Literal["compute", "memory", "overhead"]
"""What takes the most of a request's time: products, reading the weights, or neither: what every operation and every
call costs beside them."""


@dataclass(frozen=True)
class Peaks:
    """The best that was measured of a processor, on the threads that were raced on."""

    threads: int
    gflop_per_s: Mapping[str, float]
    """Of a product of two square matrices, by what it is computed in: fp32, bf16, int8."""
    gb_per_s: float
    """Of copying more than the caches hold, read and write counted."""


@dataclass(frozen=True)
class Reached:
    """What an artifact makes of it, at its median latency."""

    gflop: float
    """Of a request of median size: two for a multiply-add of products, convolutions and attention, in billions."""
    gflop_per_s: float
    of_peak: float
    """Of the peak of what it computes in, 0..1."""
    flop_per_byte: float
    """Operations for every byte of its weights, which are read once for a request: the roofline's axis."""
    of_bandwidth: float
    """Reading them, as a share of the memory's bandwidth; over 1 they must come from the caches."""
    bound: Bound
