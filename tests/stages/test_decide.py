"""What makes a verdict INVALID and what does not, and which figures the gates are held against."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kd2deploy.core import Artifact, Gates, Scores, Target, made
from kd2deploy.measure.intervals import Interval
from kd2deploy.measure.over_seeds import gap_closed_over_seeds
from kd2deploy.measure.timing import Block, Contender, Timing
from kd2deploy.measure.verdict import Outcome
from kd2deploy.report import TaskInfo
from kd2deploy.stages.brought import gap_over_seeds_or_examples
from kd2deploy.stages.findings import findings
from kd2deploy.stages.judge import Judged, Names, decide
from kd2deploy.stages.measure import Entry, Measured
from kd2deploy.stages.told import drop_chain, drop_sentence, speedups
from kd2deploy.tasks.text_classification import TextClassification

ROWS = 400
NAMES = Names("teacher (eager)", "teacher (onnx)", "control", "student (eager)", "onnx", ("fp32",))
TARGET = Target("cpu", "", "cpu", {}, gates=Gates(max_drop=0.05, min_speedup=2.0))
CAPPED = "stopped at the cap of 5 s: 120 of 224 samples"


def scores(accuracy: float) -> Scores:
    right = (np.arange(ROWS) < round(ROWS * accuracy)).astype(np.int64)
    return Scores(np.ones(ROWS, dtype=np.int64), right, right, {"accuracy": accuracy}, {"bad": right})


def timing(name: str, ms: float) -> Timing:
    """Three processes of six rounds, half a per cent of noise."""
    rng = np.random.default_rng(len(name))
    blocks = [
        Block(
            process, turn, position, tuple(int(1e6 * ms * (1 + 0.005 * one)) for one in rng.standard_normal(9)), *REST
        )
        for process in range(3)
        for turn in range(6)
        for position in range(2)
    ]
    return Timing(name, tuple(blocks), sizes=(1,) * 9, decision="the median is known within 0.3%", settled=True)


REST: Any = (tuple(range(9)), 0.0, 0.0, 0.0, 0.0)
MEASURED = Measured(
    scores={
        "teacher (eager)": scores(0.90),
        "teacher (onnx)": scores(0.90),
        "student (eager)": scores(0.89),
        "fp32": scores(0.89),
        "onnx": scores(0.88),
        "student (seed 1)": scores(0.87),
        "control": scores(0.80),
        "control (seed 1)": scores(0.81),
    },
    outputs={},
    timings={one.name: one for one in (timing("teacher (eager)", 40), timing("teacher (onnx)", 20), timing("onnx", 5))},
    failures={},
    machine={},
    before={},
    after={},
    breaches=(),
    notes=(),
)


def job(overlap: int = 0, seeds: tuple[int, ...] = (0,)) -> Any:
    return SimpleNamespace(
        task=TextClassification(labels=("good", "bad")),
        task_info=TaskInfo("text_classification", "accuracy"),
        splits=SimpleNamespace(overlap=overlap, eval=range(ROWS)),
        recipe=SimpleNamespace(seeds=seeds),
    )


@pytest.fixture
def chain(tmp_path: Path) -> tuple[Artifact, ...]:
    """A student and the file that was made of it."""
    for name in ("student", "onnx"):
        (tmp_path / name).write_text(name)
    student = made(tmp_path / "student", "none")
    return student, made(tmp_path / "onnx", "none", parent=student)


def decided(chain: tuple[Artifact, ...], overlap: int = 0, gates: Gates = TARGET.gates, **changes: Any) -> Judged:
    names = replace(NAMES, unmade=changes.pop("unmade", {}))
    return decide(job(overlap), replace(MEASURED, **changes), names, chain, replace(TARGET, gates=gates))


def failed(name: str) -> Mapping[str, Any]:
    """What is left of a measurement in which one contender failed."""
    return {
        "failures": {name: "out of memory"},
        "scores": {other: found for other, found in MEASURED.scores.items() if other != name},
        "timings": {other: found for other, found in MEASURED.timings.items() if other != name},
    }


def test_what_clears_every_limit_passes(chain: tuple[Artifact, ...]) -> None:
    found = decided(chain)
    assert found.verdict.outcome is Outcome.PASS, found.verdict.sentence
    shown = speedups(found)
    assert [(one.baseline, one.gates) for one in shown] == [("eager", True), ("same_runtime", False)]


@pytest.mark.parametrize(("share", "outcome"), [(0.10, Outcome.PASS), (0.11, Outcome.INVALID)])
def test_more_than_a_tenth_of_known_rows_proves_nothing(
    chain: tuple[Artifact, ...], share: float, outcome: Outcome
) -> None:
    assert decided(chain, overlap=round(share * ROWS)).verdict.outcome is outcome


@pytest.mark.parametrize("name", ["teacher (eager)", "onnx"])
def test_a_contender_that_a_gate_rests_on_must_not_fail(chain: tuple[Artifact, ...], name: str) -> None:
    found = decided(chain, **failed(name)).verdict
    assert found.outcome is Outcome.INVALID
    assert f"{name} could not be measured: out of memory" in found.sentence


@pytest.mark.parametrize("kind", ["failures", "unmade"])
def test_the_same_runtime_teacher_may_fail_unless_it_is_the_baseline(chain: tuple[Artifact, ...], kind: str) -> None:
    lost = {**failed("teacher (onnx)"), "failures": {}, kind: {"teacher (onnx)": "no such operator"}}
    assert decided(chain, **lost).verdict.outcome is Outcome.PASS
    strict = replace(TARGET.gates, baseline="same_runtime")
    found = decided(chain, gates=strict, **lost).verdict
    assert found.outcome is Outcome.INVALID
    assert "no such operator" in found.sentence


def test_a_missing_figure_fails(chain: tuple[Artifact, ...]) -> None:
    timings = {name: found for name, found in MEASURED.timings.items() if name != "onnx"}
    found = decided(chain, timings=timings).verdict
    assert found.outcome is Outcome.FAIL
    assert "speedup over the teacher was not measured" in found.sentence


def test_a_changed_file_is_invalid(chain: tuple[Artifact, ...]) -> None:
    chain[-1].path.write_text("forged")
    assert decided(chain).verdict.outcome is Outcome.INVALID


def test_a_race_that_was_cut_short_says_so_and_is_judged_by_its_interval(chain: tuple[Artifact, ...]) -> None:
    capped = {**MEASURED.timings, "onnx": replace(MEASURED.timings["onnx"], settled=False, decision=CAPPED)}
    found = decided(chain, timings=capped).verdict
    assert found.outcome is Outcome.PASS
    assert found.sentence == "PASS: 8.00x faster (2x asked), accuracy 2.00 points below the teacher's (5 allowed)"
    speed, drop = (next(gate for gate in found.gates if gate.name == name) for name in ("min_speedup", "max_drop"))
    assert f"(timing of onnx {CAPPED})" in speed.sentence
    assert "cap" not in drop.sentence


# the gap ------------------------------------------------------------------------------------------------------


def entries(*names: str) -> list[Entry]:
    artifact = Artifact(Path(), "", "")
    return [Entry(Contender(name, artifact), SimpleNamespace(), "variant") for name in names]  # type: ignore[arg-type]


STUDENTS, CONTROLS = entries("student (eager)", "student (seed 1)"), entries("control", "control (seed 1)")


def test_the_gap_closed_goes_over_the_seeds_where_there_are_several() -> None:
    found = gap_over_seeds_or_examples(job(seeds=(0, 1)), MEASURED, NAMES, "student (eager)", STUDENTS, CONTROLS)
    assert found == gap_closed_over_seeds([0.89, 0.87], [0.80, 0.81], 0.90)


def test_what_the_deployed_file_lost_is_taken_from_every_seed() -> None:
    found = gap_over_seeds_or_examples(job(seeds=(0, 1)), MEASURED, NAMES, "onnx", STUDENTS, CONTROLS)
    expected = gap_closed_over_seeds([0.88, 0.86], [0.80, 0.81], 0.90)
    assert isinstance(found, Interval)
    assert expected is not None
    assert (found.estimate, found.low, found.high) == pytest.approx((expected.estimate, expected.low, expected.high))


def test_a_single_seeds_gap_goes_over_the_examples() -> None:
    found = gap_over_seeds_or_examples(job(), MEASURED, NAMES, "student (eager)", STUDENTS[:1], CONTROLS[:1])
    assert isinstance(found, Interval)
    assert found.estimate == pytest.approx(0.9)
    assert found.low < 0.9 < found.high


def test_without_a_control_there_is_no_gap() -> None:
    names = replace(NAMES, control=None)
    assert gap_over_seeds_or_examples(job(), MEASURED, names, "onnx", STUDENTS[:1], []) is None


# where the score drops ----------------------------------------------------------------------------------------


def test_every_file_between_student_and_deployed_has_its_step() -> None:
    logits = np.eye(2)[[0, 1] * (ROWS // 2)]
    measured = replace(MEASURED, outputs={name: {"logits": logits} for name in MEASURED.scores})
    found = drop_chain(job(), measured, NAMES, measured.scores)
    assert [link.step for link in found] == ["teacher", "student", "fp32", "deployed (onnx)"]
    assert [link.delta.value for link in found if link.delta] == pytest.approx([-0.01, 0.0, -0.01])
    for link in found:
        assert link.metric is not None
        assert link.metric.low is not None
        assert link.metric.high is not None
        assert link.metric.low < link.metric.high, "what the figure draws a bar of"


# classes ------------------------------------------------------------------------------------------------------


def of_classes(**recalls: float) -> Scores:
    """100 rows of each class, but 4 of one called `rare`."""
    rows = {name: 4 if name == "rare" else 100 for name in recalls}
    hits = {name: (np.arange(rows[name]) < round(rows[name] * recall)).astype(int) for name, recall in recalls.items()}
    correct = np.concatenate(list(hits.values()))
    return Scores(np.ones(len(correct), dtype=np.int64), correct, correct, {"accuracy": float(correct.mean())}, hits)


def with_classes(teacher: Scores, deployed: Scores) -> Measured:
    return replace(MEASURED, scores={**MEASURED.scores, "teacher (eager)": teacher, "onnx": deployed})


def told(chain: tuple[Artifact, ...], measured: Measured, gates: Gates = TARGET.gates) -> tuple[Judged, list[str]]:
    target = replace(TARGET, gates=gates)
    judged = decide(job(), measured, NAMES, chain, target)
    return judged, [one.sentence for one in findings(measured, judged, NAMES, target, chain[-1], 15.0)]


def test_a_heavy_loss_in_one_class_stands_in_what_to_know_though_the_mean_holds(chain: tuple[Artifact, ...]) -> None:
    measured = with_classes(of_classes(joy=0.83, fear=0.80), of_classes(joy=0.69, fear=0.94))
    judged, said = told(chain, measured, Gates(max_drop=0.1, min_speedup=2.0))
    assert judged.verdict.outcome is Outcome.PASS, judged.verdict.sentence
    assert said[0].startswith(
        "The class joy falls from a recall of 83.00 % (teacher) to 69.00 % (deployed): 14.00 points ["
    )
    assert said[0].endswith(" on 100 rows.")
    assert not any("fear" in line for line in said)


def test_a_loss_that_may_be_chance_is_told_as_such(chain: tuple[Artifact, ...]) -> None:
    lost = of_classes(**{f"class {place}": 0.80 for place in range(30)} | {"joy": 0.76})
    kept = of_classes(**{f"class {place}": 0.80 for place in range(30)} | {"joy": 0.82})
    _, said = told(chain, with_classes(kept, lost))
    assert said[0].endswith("on 100 rows, too few to be sure.")


@pytest.mark.parametrize(
    ("limit", "after", "outcome"),
    [(0.25, 0.69, Outcome.PASS), (0.15, 0.69, Outcome.INCONCLUSIVE), (0.05, 0.60, Outcome.FAIL)],
)
def test_the_worst_classs_pessimistic_end_is_held_against_its_limit(
    chain: tuple[Artifact, ...], limit: float, after: float, outcome: Outcome
) -> None:
    measured = with_classes(of_classes(joy=0.83, fear=0.80), of_classes(joy=after, fear=0.94))
    judged, _ = told(chain, measured, Gates(max_class_drop=limit))
    assert judged.verdict.outcome is outcome, judged.verdict.sentence
    assert "recall of joy" in judged.verdict.sentence


def test_a_class_with_too_few_rows_never_lets_the_limit_pass_and_is_named(chain: tuple[Artifact, ...]) -> None:
    measured = with_classes(of_classes(joy=0.83, rare=1.0), of_classes(joy=0.83, rare=1.0))
    judged, said = told(chain, measured, Gates(max_class_drop=0.3))
    assert judged.verdict.outcome is Outcome.INCONCLUSIVE
    assert "rare: fewer than 10 evaluation rows" in judged.verdict.gates[0].sentence
    assert said[-1] == (
        "1 of 2 classes has fewer than 10 evaluation rows, so that nothing is known of what is lost there: rare."
    )


# noise --------------------------------------------------------------------------------------------------------


def test_noise_and_a_cap_that_touch_every_timing_are_said_once(chain: tuple[Artifact, ...]) -> None:
    rng = np.random.default_rng(0)
    timings = {
        name: replace(
            one,
            settled=False,
            blocks=tuple(
                replace(block, ns=tuple(int(ns * rng.lognormal(0, 0.1)) for ns in block.ns)) for block in one.blocks
            ),
        )
        for name, one in MEASURED.timings.items()
    }
    _, said = told(chain, replace(MEASURED, timings=timings))
    (line,) = (line for line in said if "noisy" in line)
    assert line.startswith("All 3 timings are noisy: single requests of one input spread by ")
    assert "all 3 timings are cut short at the cap of 15 s" in line


def test_quiet_timings_say_nothing(chain: tuple[Artifact, ...]) -> None:
    _, said = told(chain, MEASURED)
    assert said == []


def test_a_loss_that_is_none_is_not_blamed_on_a_step() -> None:
    logits = np.eye(2)[[0, 1] * (ROWS // 2)]
    scored = {**MEASURED.scores, **{name: scores(0.85) for name in ("student (eager)", "fp32", "onnx")}}
    measured = replace(MEASURED, scores=scored, outputs={name: {"logits": logits} for name in scored})
    links = drop_chain(job(), measured, NAMES, scored)
    said = drop_sentence(job(), measured, NAMES, links)
    assert said.startswith("most of the metric is lost from teacher to student: -5.00 points [")
    even = {**scored, "student (eager)": scores(0.8975), "fp32": scores(0.8975), "onnx": scores(0.90)}
    measured = replace(measured, scores=even)
    said = drop_sentence(job(), measured, NAMES, drop_chain(job(), measured, NAMES, even))
    assert said.startswith(
        "no step loses anything for sure: the largest change enters from teacher to student: -0.25 points"
    )
