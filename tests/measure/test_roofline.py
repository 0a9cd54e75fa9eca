"""Operations as they are counted by hand, and which limit binds."""

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from kd2deploy.core.roofline import Peaks
from kd2deploy.measure.roofline import binding, gflop_of, peaks, reached

LIMITS = Peaks(2, {"fp32": 100.0, "bf16": 200.0, "int8": 400.0}, 20.0)


def test_operations_are_those_of_products_convolutions_and_attention() -> None:
    rows, linear = torch.ones(6, 8), nn.Linear(8, 4)
    maps, convolution = torch.ones(1, 3, 10, 10), nn.Conv2d(3, 5, 3)
    queries = torch.ones(2, 4, 7, 16)
    counted = {
        "linear": (lambda: linear(rows), 2 * 6 * 8 * 4),
        "convolution": (lambda: convolution(maps), 2 * 8 * 8 * 5 * 3 * 9),
        "attention": (lambda: scaled_dot_product_attention(queries, queries, queries), 2 * 2 * (2 * 4 * 7 * 7 * 16)),
        "nothing": (lambda: rows + 1, 0),
    }
    for name, (run, expected) in counted.items():
        with torch.inference_mode():
            assert gflop_of(run) * 1e9 == pytest.approx(expected), name


def test_what_is_reached_is_held_against_the_peak_of_its_precision() -> None:
    found = reached(LIMITS, gflop=0.2, precision="int8", weights_mb=5.0, median_ms=1.0)
    assert found is not None
    assert (found.gflop_per_s, found.of_peak, found.flop_per_byte, found.of_bandwidth) == (200.0, 0.5, 40.0, 0.25)
    assert found.bound == "compute"
    plain = reached(LIMITS, 0.01, "fp32", 15.0, 1.0)
    assert plain is not None
    assert (plain.of_peak, plain.bound) == (0.1, "memory")
    assert reached(LIMITS, 0.2, "fp8", 5.0, 1.0) is None
    assert reached(LIMITS, 0.0, "fp32", 5.0, 1.0) is None


@pytest.mark.parametrize(
    ("of_peak", "of_bandwidth", "bound"),
    [(0.6, 0.2, "compute"), (0.2, 0.6, "memory"), (0.6, 0.9, "memory"), (0.6, 5.0, "compute"), (0.2, 5.0, "overhead")],
)
def test_the_nearer_limit_binds_and_weights_in_the_caches_bind_nothing(
    of_peak: float, of_bandwidth: float, bound: str
) -> None:
    assert binding(of_peak, of_bandwidth) == bound


def test_this_machines_own_peaks_are_measured() -> None:
    found = peaks(1, seconds=0.001)
    assert set(found.gflop_per_s) == {"fp32", "bf16", "int8"}
    assert min(*found.gflop_per_s.values(), found.gb_per_s) > 0
