"""What makes a verdict INVALID and what does not, and which figures the gates are held against."""

from dataclasses import replace

import numpy as np
import pytest
from stages.small_field import FAILED, ROWS, TARGET, changed, entry, job, measured, without

from kd2deploy.core import Gates
from kd2deploy.core.verdict import Outcome
from kd2deploy.stages.field import Field, Unmade
from kd2deploy.stages.judge import Judged, decide
from kd2deploy.stages.telling.figures import timing_shown

CAPPED = "stopped at the cap of 5 s: 120 of 224 samples"


def decided(field: Field, overlap: int = 0, gates: Gates = TARGET.gates) -> Judged:
    return decide(job(overlap), measured(field), replace(TARGET, gates=gates))


def test_what_clears_every_limit_passes(field: Field) -> None:
    found = decided(field)
    assert found.verdict.outcome is Outcome.PASS, found.verdict.sentence
    assert [(one.baseline, one.gates) for one in found.speedups] == [("eager", True), ("same_runtime", False)]


@pytest.mark.parametrize(("share", "outcome"), [(0.10, Outcome.PASS), (0.11, Outcome.INVALID)])
def test_more_than_a_tenth_of_known_rows_proves_nothing(field: Field, share: float, outcome: Outcome) -> None:
    assert decided(field, overlap=round(share * ROWS)).verdict.outcome is outcome


@pytest.mark.parametrize("name", ["teacher (eager)", "onnx"])
def test_a_contender_that_a_gate_rests_on_must_not_fail(field: Field, name: str) -> None:
    found = decided(changed(field, name, **FAILED)).verdict
    assert found.outcome is Outcome.INVALID
    assert f"{name} could not be measured: out of memory" in found.sentence


@pytest.mark.parametrize("kind", ["failed", "unmade"])
def test_the_same_runtime_teacher_may_fail_unless_it_is_the_baseline(field: Field, kind: str) -> None:
    name = "teacher (onnx)"
    unmade = Unmade(name, "teacher_same_runtime", "out of memory")
    lost = changed(field, name, **FAILED) if kind == "failed" else replace(without(field, name), unmade=(unmade,))
    assert decided(lost).verdict.outcome is Outcome.PASS
    strict = replace(TARGET.gates, baseline="same_runtime")
    found = decided(lost, gates=strict).verdict
    assert found.outcome is Outcome.INVALID
    assert f"{name} could not be measured: out of memory" in found.sentence


def test_the_speed_may_be_held_against_the_teachers_own_best_file(field: Field) -> None:
    strict = Gates(baseline="best_file", min_speedup=3.5)
    best = replace(field, entries=(*field.entries, entry("teacher (int8)", "teacher_best_file", 0.9, 15, seed=None)))
    found = decided(best, gates=strict)
    assert [(one.baseline, one.against, one.gates) for one in found.speedups] == [
        ("eager", "teacher (eager)", False),
        ("same_runtime", "teacher (onnx)", False),
        ("best_file", "teacher (int8)", True),
    ]
    assert found.verdict.outcome is Outcome.FAIL
    assert "the teacher's best file" in found.verdict.sentence
    alike = decided(field, gates=strict)  # no other file was quicker, so the same runtime is the teacher's best
    assert [(one.baseline, one.against) for one in alike.speedups][2] == ("best_file", "teacher (onnx)")
    assert alike.verdict.outcome is Outcome.PASS
    lost = decided(changed(best, "teacher (int8)", **FAILED), gates=strict).verdict
    assert lost.outcome is Outcome.INVALID
    assert decided(changed(best, "teacher (int8)", **FAILED)).verdict.outcome is Outcome.PASS


def asked(field: Field, name: str, ms: float) -> Field:
    """The field with whole requests of so many milliseconds."""
    timing = next(one.timing for one in field.entries if one.name == name)
    assert timing is not None
    noisy = [
        tuple(int(ns / 1e6 / np.median(timing.samples_ms) * 1e6 * ms) for ns in block.ns) for block in timing.blocks
    ]
    whole = tuple(
        replace(block, ns=ns, marks=tuple((one // 4, one // 2) for one in ns))
        for block, ns in zip(timing.blocks, noisy, strict=True)
    )
    return changed(field, name, timing=replace(timing, end_to_end=whole))


@pytest.mark.parametrize(("limit", "outcome"), [(3.5, Outcome.PASS), (4.5, Outcome.FAIL), (4.0, Outcome.INCONCLUSIVE)])
def test_end_to_end_is_held_to_its_limit_against_the_eager_teacher(
    field: Field, limit: float, outcome: Outcome
) -> None:
    whole = asked(asked(field, "teacher (eager)", 44.0), "onnx", 11.0)
    found = decided(whole, gates=Gates(end_to_end=limit, baseline="same_runtime"))
    (result,) = found.verdict.gates
    assert (result.name, result.outcome) == ("end_to_end", outcome)
    eager, same = found.speedups
    assert eager.end_to_end == result.estimate
    assert same.end_to_end is None
    if outcome is not Outcome.INCONCLUSIVE:
        assert f"faster end to end ({limit:g}x asked)" in found.verdict.sentence


def test_what_was_not_timed_end_to_end_misses_its_limit(field: Field) -> None:
    found = decided(asked(field, "onnx", 11.0), gates=Gates(end_to_end=2.0)).verdict
    assert found.outcome is Outcome.FAIL
    assert "speedup end to end over the teacher was not measured" in found.sentence


@pytest.mark.parametrize(("limit", "outcome"), [(900, Outcome.PASS), (1100, Outcome.FAIL), (995, Outcome.INCONCLUSIVE)])
def test_throughput_is_held_to_its_limit_by_its_interval(field: Field, limit: float, outcome: Outcome) -> None:
    timing = field.deployed.timing
    assert timing is not None
    timing = replace(timing, rows_per_s=(990.0, 1000.0, 1010.0), threads=4)
    known = changed(field, "onnx", timing=timing)
    (result,) = decided(known, gates=Gates(min_throughput=limit)).verdict.gates
    assert (result.name, result.outcome, result.unit) == ("min_throughput", outcome, "rate")
    assert result.sentence.startswith("throughput is 1,000 rows/s [975, 1,025]; at least"), result.sentence
    per_core = timing_shown(timing).throughput_per_core
    assert per_core is not None
    assert per_core.value == pytest.approx(250.0, rel=1e-3)
    assert timing_shown(replace(timing, peak_device_mb=10.0)).throughput_per_core is None


def test_throughput_that_was_not_taken_misses_its_limit(field: Field) -> None:
    found = decided(field, gates=Gates(min_throughput=10)).verdict
    assert found.outcome is Outcome.FAIL
    assert "throughput was not measured" in found.sentence


def test_a_missing_figure_fails(field: Field) -> None:
    found = decided(changed(field, "onnx", timing=None)).verdict
    assert found.outcome is Outcome.FAIL
    assert "speedup over the teacher was not measured" in found.sentence


def test_a_changed_file_is_invalid(field: Field) -> None:
    field.deployed.artifact.path.write_text("forged")
    assert decided(field).verdict.outcome is Outcome.INVALID


def test_a_race_that_was_cut_short_says_so_and_is_judged_by_its_interval(field: Field) -> None:
    assert field.deployed.timing is not None
    capped = replace(field.deployed.timing, settled=False, decision=CAPPED)
    found = decided(changed(field, "onnx", timing=capped)).verdict
    assert found.outcome is Outcome.PASS
    assert found.sentence == "PASS: 8.00x faster (2x asked), accuracy 2.00 points below the teacher's (5 allowed)"
    speed, drop = (next(gate for gate in found.gates if gate.name == name) for name in ("min_speedup", "max_drop"))
    assert f"(timing of onnx {CAPPED})" in speed.sentence
    assert "cap" not in drop.sentence


def test_a_run_without_a_teacher_is_judged_by_what_needs_none(field: Field) -> None:
    alone = without(field, "teacher (eager)", "teacher (onnx)")
    found = decided(alone, gates=Gates(p50_ms=6.0)).verdict
    assert found.outcome is Outcome.PASS, found.sentence
    assert decided(alone, gates=Gates(max_drop=0.05)).verdict.outcome is Outcome.FAIL, "what it is held to is missing"
    assert decided(alone).speedups == ()


@pytest.mark.parametrize(("gates", "said"), [(Gates(min_speedup=2.0), True), (Gates(max_drop=0.05), False)])
def test_a_time_that_was_taken_beside_others_is_said_in_the_verdict(field: Field, gates: Gates, said: bool) -> None:
    disturbed = replace(measured(field), company=("others used 3.1 cores on average",))
    found = decide(job(), disturbed, replace(TARGET, gates=gates)).verdict
    assert ("timed while others used the machine" in found.sentence) is said
