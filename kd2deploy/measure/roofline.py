"""How near a timed artifact comes to its machine's limits, and which of them binds it.

Source: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore
architectures", 2009. Departs from it: the bytes are those of the weights alone, each read once, since nothing counts
what really moves between memory and caches; a third case, overhead, is named where neither limit is near.
"""

from collections.abc import Callable

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kd2deploy.core.roofline import Bound, Peaks, Reached
from kd2deploy.measure.machine import copy_gb_per_s, matmul_gflops

PEAK_S = 0.1
"""Seconds for each peak: the best of some ten products. Ours."""
PEAK_OF = {"fp32": "fp32", "tf32": "fp32", "bf16": "bf16", "fp16": "bf16", "int8": "int8"}
"""Which peak an artifact is held against, by its precision; a processor has no units for fp16 that bf16 lacks."""
NEAR = 0.5
"""From this share of a limit on it is what binds. Ours."""
CACHED = 1.2
"""Above this share of the memory's bandwidth the weights are read from the caches. Ours."""


def peaks(threads: int, seconds: float = PEAK_S) -> Peaks:
    """Measured now, on so many threads."""
    found = {kind: matmul_gflops(threads, seconds, kind=kind) for kind in ("fp32", "bf16", "int8")}
    return Peaks(threads, found, copy_gb_per_s(seconds))


def gflop_of(run: Callable[[], object]) -> float:
    """Billions of operations of what PyTorch runs, two for a multiply-add: products, convolutions and attention."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # whose products are counted
        run()
    return float(counter.get_total_flops()) / 1e9


def reached(limits: Peaks, gflop: float, precision: str, weights_mb: float, median_ms: float) -> Reached | None:
    """None where nothing was counted, or it computes in what no peak was measured of."""
    peak = limits.gflop_per_s.get(PEAK_OF.get(precision, ""))
    if not peak or not gflop or not weights_mb or not median_ms:
        return None
    rate, read = gflop / median_ms * 1e3, weights_mb / median_ms  # MB per ms are GB per s
    of_peak, of_bandwidth = rate / peak, read / limits.gb_per_s
    return Reached(gflop, rate, of_peak, gflop * 1e3 / weights_mb, of_bandwidth, binding(of_peak, of_bandwidth))


def binding(of_peak: float, of_bandwidth: float) -> Bound:
    if of_peak >= NEAR and (of_peak >= of_bandwidth or of_bandwidth > CACHED):
        return "compute"
    return "memory" if NEAR <= of_bandwidth <= CACHED else "overhead"
