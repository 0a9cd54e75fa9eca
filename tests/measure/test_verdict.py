import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd2deploy.core import Gates
from kd2deploy.core.verdict import Outcome
from kd2deploy.measure.intervals import Interval, TooFew
from kd2deploy.measure.phrases import PHRASES, Metric
from kd2deploy.measure.verdict import GATES, gate, judge


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        (Interval(4.5, 4.0, 5.0), Outcome.PASS),
        (Interval(4.5, 3.9, 5.0), Outcome.INCONCLUSIVE),
        (Interval(3.9, 3.8, 4.0), Outcome.INCONCLUSIVE),
        (Interval(3.5, 3.2, 3.99), Outcome.FAIL),
        (Interval(20.0, 8.0, 79.0), Outcome.PASS),
        (Interval(4.5, 4.1, math.inf), Outcome.INCONCLUSIVE),
        (Interval(1378.0, 40.0, 9000.0), Outcome.INCONCLUSIVE),
        (Interval(0.5, 0.01, 3.0), Outcome.FAIL),
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
    assert failed.sentence == "FAIL: median latency 6.00 ms (5 ms allowed); 1 other limit holds, 1 cannot be told"
    assert failed.gates[2].sentence == "median latency is 6.00 ms [5.50, 6.50]; at most 5 ms is missed"
    assert unsure.sentence == "INCONCLUSIVE: 4.10x [3.90, 4.30] faster (4x asked); 2 other limits hold"
    assert [each.name for each in failed.gates] == ["max_drop", "min_speedup", "p50_ms"]


def test_a_drop_is_told_in_points_unless_the_metric_is_no_share() -> None:
    drop = Interval(-0.004568, -0.009777, 0.0007)
    told = gate("max_drop", 0.02, drop)
    assert told.sentence == "metric drop against the teacher is -0.46 points [-0.98, 0.07]; at most 2 points holds"
    assert told.unit == "points"
    number = gate("max_drop", 0.02, drop, Metric("spearman", "number"))
    assert number.sentence.endswith("is -0.0046 [-0.0098, 0.0007]; at most 0.02 holds")
    assert (number.unit, number.brief) == ("number", "spearman 0.0046 above the teacher's (0.02 below allowed)")


def test_the_verdict_is_short_and_tells_what_was_gained_first() -> None:
    gates = Gates(max_drop=0.02, min_speedup=4.0)
    figures = {"max_drop": Interval(-0.0046, -0.0098, 0.0007), "min_speedup": Interval(12.66, 12.1, 13.2)}
    found = judge(gates, figures, metric=Metric("accuracy")).sentence
    assert found == "PASS: 12.7x faster (4x asked), accuracy 0.46 points above the teacher's (2 below allowed)"


@pytest.mark.parametrize(
    ("name", "limit", "figure", "brief"),
    [
        ("min_speedup", 4.0, Interval(0.874, 0.86, 0.89), "0.87x as fast (4x asked)"),
        ("max_drop", 0.005, Interval(0.0124, 0.01, 0.015), "accuracy 1.24 points below the teacher's (0.5 allowed)"),
        ("max_drop", 0.01, Interval(0.0, 0.0, 0.004), "accuracy equal to the teacher's (1 below allowed)"),
        (
            "max_class_drop",
            0.05,
            Interval(0.14, 0.06, 0.2),
            "recall of joy 14.00 points below the teacher's (5 allowed)",
        ),
        ("min_retention", 0.97, Interval(0.987, 0.98, 0.99), "98.70 % of the teacher's accuracy kept (97 % asked)"),
        ("min_gap_closed", 0.5, Interval(0.78, 0.61, 0.93), "78.00 % of the gap to the teacher closed (50 % asked)"),
        ("p50_ms", 5.0, Interval(1.092, 1.08, 1.1), "median latency 1.09 ms (5 ms allowed)"),
        ("p99_ms", 20.0, Interval(17.5, 16.9, 18.3), "P99 latency 17.5 ms (20 ms allowed)"),
        ("max_size_mb", 20.0, 14.62, "14.6 MB (20 MB allowed)"),
        ("min_throughput", 500.0, Interval(812.34, 790.0, 830.0), "812 rows/s (500 rows/s asked)"),
    ],
)
def test_each_limit_has_its_phrase(name: str, limit: float, figure: Interval | float, brief: str) -> None:
    assert gate(name, limit, figure, Metric("accuracy"), "joy" if "class" in name else "").brief == brief


def test_a_speedup_over_an_order_of_magnitude_is_told_by_its_ends() -> None:
    wide = gate("min_speedup", 4.0, Interval(1378.0, 40.0, 9000.0))
    assert wide.brief == "speedup over the teacher cannot be told: it lies between 40.0x and 9,000x (4x asked)"
    assert wide.sentence == f"{wide.brief}; measure again on a quiet machine, or for longer"
    missed = gate("min_speedup", 4.0, Interval(0.5, 0.01, 3.0))
    assert missed.brief == "speedup over the teacher is missed: it lies between 0.01x and 3.00x (4x asked)"
    assert gate("min_speedup", 4.0, Interval(4.5, 4.1, math.inf)).brief == (
        "speedup over the teacher cannot be told: all that is known is that it is at least 4.10x (4x asked)"
    )


def test_a_share_of_no_gap_is_no_figure() -> None:
    found = gate("min_gap_closed", 0.1, Interval(-0.67, -math.inf, math.inf))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.estimate.value is None
    assert found.brief == (
        "gap closed between control and teacher cannot be told: the teacher is not surely better than the control"
    )


def test_what_is_compared_with_is_called_by_its_name() -> None:
    metric = Metric("accuracy", before="baseline")
    drop = gate("max_drop", 0.02, Interval(-0.0046, -0.0098, 0.0007), metric)
    assert drop.brief == "accuracy 0.46 points above the baseline's (2 below allowed)"
    assert drop.sentence.startswith("metric drop against the baseline is -0.46 points")
    assert gate("min_speedup", 4.0, None, metric).sentence.startswith("speedup over the baseline was not measured")


def test_a_caveat_ends_the_sentence_whatever_the_outcome() -> None:
    found = judge(Gates(min_speedup=4.0), {"min_speedup": Interval(5.0, 4.5, 5.5)}, caveat="timed beside others")
    assert found.sentence == "PASS: 5.00x faster (4x asked); timed beside others"


def test_of_several_reasons_the_first_is_told_and_the_rest_counted() -> None:
    found = judge(Gates(), {}, ["no device", "a stale file", "a third"])
    assert found.sentence == "INVALID: no device (and 2 more reasons)"
    assert found.further == ("a stale file", "a third")


def test_the_baseline_that_flatters_less_is_named() -> None:
    told = gate("min_speedup", 2.0, Interval(2.46, 2.41, 2.52), subject="the teacher in the same runtime")
    assert told.brief == "2.46x faster than the teacher in the same runtime (2x asked)"


def test_no_figure_is_rounded_to_the_limit_that_it_misses() -> None:
    assert gate("min_speedup", 4.0, Interval(3.998, 3.99, 3.9985)).brief == "3.998x faster (4x asked)"
    assert "[3.9900, 3.9996]" not in gate("min_speedup", 4.0, Interval(3.9, 3.8, 3.9996)).sentence
    held = gate("max_drop", 0.01, Interval(0.005, 0.0, 0.010004))
    assert held.outcome is Outcome.INCONCLUSIVE
    assert "1.0004]" in held.sentence


def test_more_rows_are_the_remedy_for_accuracy_and_quiet_for_speed() -> None:
    wide = Interval(4.0, 3.0, 5.0)
    assert "more evaluation rows are needed" in gate("max_drop", 4.0, wide).sentence
    assert "a quieter machine are needed" in gate("min_speedup", 4.0, wide).sentence
    few = gate("max_class_drop", 0.05, TooFew(needs=10, has=3)).sentence
    assert few.endswith("cannot be told: 3 rows of a class, 10 needed")


def test_a_breach_makes_it_invalid_and_the_gates_are_still_shown() -> None:
    found = judge(Gates(min_speedup=2.0), {"min_speedup": Interval(3, 2.5, 3.5)}, ["CUDA was asked for, CPU is active"])
    assert found.outcome is Outcome.INVALID
    assert found.exit_code == 4
    assert found.gates[0].outcome is Outcome.PASS
    assert "CPU is active" in found.sentence


def test_without_gates_nothing_fails() -> None:
    assert judge(Gates(), {}).outcome is Outcome.PASS


def test_every_limit_of_the_gates_is_judged() -> None:
    assert set(GATES) == {field.name for field in fields(Gates)} - {"baseline"} == set(PHRASES)


@given(st.sampled_from(sorted(GATES)), st.floats(-5, 5), st.floats(-5, 5), st.floats(0, 5))
def test_no_interval_both_passes_and_fails_and_widening_never_decides(
    name: str, limit: float, centre: float, half: float
) -> None:
    narrow = gate(name, limit, Interval(centre, centre - half, centre + half)).outcome
    wide = gate(name, limit, Interval(centre, centre - half - 1, centre + half + 1)).outcome
    assert wide in (narrow, Outcome.INCONCLUSIVE)
