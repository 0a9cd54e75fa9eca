import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd2deploy.core import Gates
from kd2deploy.measure.intervals import Interval, TooFew
from kd2deploy.measure.verdict import GATES, Outcome, gate, judge


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        (Interval(4.5, 4.0, 5.0), Outcome.PASS),
        (Interval(4.5, 3.9, 5.0), Outcome.INCONCLUSIVE),
        (Interval(3.9, 3.8, 4.0), Outcome.INCONCLUSIVE),
        (Interval(3.5, 3.2, 3.99), Outcome.FAIL),
        (Interval(4.5, 4.1, math.inf), Outcome.PASS),
    ],
)
def test_a_lower_limit_is_held_against_the_pessimistic_end(interval: Interval, outcome: Outcome) -> None:
    assert gate("min_speedup", 4.0, interval).outcome is outcome


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        (Interval(0.005, -0.002, 0.01), Outcome.PASS),
        (Interval(0.005, -0.002, 0.012), Outcome.INCONCLUSIVE),
        (Interval(0.02, 0.011, 0.03), Outcome.FAIL),
        (Interval(0.02, 0.004, math.inf), Outcome.INCONCLUSIVE),
    ],
)
def test_an_upper_limit_is_too(interval: Interval, outcome: Outcome) -> None:
    assert gate("max_drop", 0.01, interval).outcome is outcome


@pytest.mark.parametrize("figure", [None, math.nan, Interval(math.nan, 0.0, 1.0)])
def test_a_missing_figure_fails(figure: Interval | float | None) -> None:
    result = gate("p99_ms", 10.0, figure)
    assert result.outcome is Outcome.FAIL
    assert result.sentence == "P99 latency was not measured, and a missing figure fails"


def test_too_few_samples_are_inconclusive_and_say_how_many_are_needed() -> None:
    result = gate("p99_ms", 10.0, TooFew(needs=662, has=300))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.sentence == "P99 latency cannot be told: 300 samples, 662 needed"


def test_a_size_is_known_exactly() -> None:
    assert gate("max_size_mb", 10.0, 10.0).outcome is Outcome.PASS
    assert gate("max_size_mb", 10.0, 10.1).outcome is Outcome.FAIL


def test_the_worst_gate_decides_and_says_why() -> None:
    gates = Gates(max_drop=0.01, min_speedup=4.0, p50_ms=5.0)
    good, wide, bad = Interval(0.0, 0.0, 0.005), Interval(4.1, 3.9, 4.3), Interval(6.0, 5.5, 6.5)
    passed = judge(gates, {"max_drop": good, "min_speedup": Interval(5, 4.5, 5.5), "p50_ms": 2.0})
    unsure = judge(gates, {"max_drop": good, "min_speedup": wide, "p50_ms": 2.0})
    failed = judge(gates, {"max_drop": good, "min_speedup": wide, "p50_ms": bad})
    assert [each.outcome.exit_code for each in (passed, unsure, failed)] == [0, 3, 1]
    assert failed.sentence == "FAIL: median latency is 6 ms [5.5, 6.5]; at most 5 ms is missed"
    assert [each.name for each in failed.gates] == ["max_drop", "min_speedup", "p50_ms"]


def test_a_drop_is_told_in_points_unless_the_metric_is_no_share() -> None:
    drop = Interval(-0.004568, -0.009777, 0.0007)
    told = gate("max_drop", 0.02, drop).sentence
    assert told == "metric drop against the teacher is -0.457 points [-0.978, 0.07]; at most 2 points holds"
    assert "-0.00457 [-0.00978, 0.0007]; at most 0.02 holds" in gate("max_drop", 0.02, drop, "number").sentence


def test_a_breach_makes_it_invalid_and_the_gates_are_still_shown() -> None:
    found = judge(Gates(min_speedup=2.0), {"min_speedup": Interval(3, 2.5, 3.5)}, ["CUDA was asked for, CPU is active"])
    assert found.outcome is Outcome.INVALID
    assert found.exit_code == 4
    assert found.gates[0].outcome is Outcome.PASS
    assert "CPU is active" in found.sentence


def test_without_gates_nothing_fails() -> None:
    assert judge(Gates(), {}).outcome is Outcome.PASS


def test_every_limit_of_the_gates_is_judged() -> None:
    assert set(GATES) == {field.name for field in fields(Gates)} - {"baseline"}


@given(st.sampled_from(sorted(GATES)), st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 5))
def test_no_interval_both_passes_and_fails_and_widening_never_decides(
    name: str, limit: float, centre: float, half: float
) -> None:
    narrow = gate(name, limit, Interval(centre, centre - half, centre + half)).outcome
    wide = gate(name, limit, Interval(centre, centre - half - 1, centre + half + 1)).outcome
    assert wide in (narrow, Outcome.INCONCLUSIVE)
