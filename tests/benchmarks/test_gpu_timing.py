"""Calls side by side, and what is said of their samples."""

import numpy as np
from _gpu_timing import Protocol, figure, side_by_side, times_faster


def test_calls_go_there_and_back_in_each_round() -> None:
    order: list[str] = []
    protocol = Protocol(seconds=0.0, rounds=2, block_warm_runs=1, least_runs=1)
    found = side_by_side({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, protocol)
    assert "".join(order) == 2 * "aabbbbaa"  # each block has a run that is not timed
    assert [len(samples) for samples in found["a"]] == [2, 2]


def test_a_ninetieth_percentile_needs_64_samples() -> None:
    few, enough = ([np.arange(1.0, half + 1), np.arange(1.0, half + 1)] for half in (31, 32))
    assert figure(few)["p90"] is None
    assert figure(few)["p90_needs"] == 64
    assert figure(enough)["p90"] == 29.0
    assert figure(enough)["median"] == 16.5


def test_how_many_times_faster_is_the_ratio_of_medians() -> None:
    slow, fast = [np.full(9, 4.0)] * 4, [np.full(9, 2.0)] * 4
    assert times_faster(slow, fast) == {"estimate": 2.0, "low": 2.0, "high": 2.0}
