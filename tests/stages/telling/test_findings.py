"""What a reader must know beside the verdict: lost classes, noise, a cap."""

from dataclasses import replace

import numpy as np
import pytest
from stages.small_field import TARGET, changed, entry, job, measured, timing

from kd2deploy.core import Gates, Scores
from kd2deploy.core.verdict import Outcome
from kd2deploy.measure.timing import Timing
from kd2deploy.stages.field import Field
from kd2deploy.stages.judge import Judged, decide
from kd2deploy.stages.telling.findings import findings


def told(field: Field, gates: Gates = TARGET.gates) -> tuple[Judged, list[str]]:
    target = replace(TARGET, gates=gates)
    judged = decide(job(), measured(field), target)
    return judged, [one.sentence for one in findings(field, judged, target, 15.0)]


def test_another_variant_that_is_faster_beside_a_neighbour_is_named(field: Field) -> None:
    def beside(name: str, ms: float) -> Timing:
        return replace(timing(name, 5.0), crowded=timing(name, ms).blocks)

    other = replace(entry("openvino", "variant", 0.88), timing=beside("openvino", 7.0))
    known = changed(replace(field, entries=(*field.entries, other)), "onnx", timing=beside("onnx", 14.0))
    _, said = told(known)
    (line,) = [one for one in said if "busy neighbour" in one]
    assert line.startswith("Beside a busy neighbour openvino is 2.00x [")
    assert line.endswith("faster than the deployed onnx, which was chosen without one.")
    assert not [one for one in told(field)[1] if "busy neighbour" in one]


# classes ------------------------------------------------------------------------------------------------------


def of_classes(**recalls: float) -> Scores:
    """100 rows of each class, but 4 of one called `rare`."""
    rows = {name: 4 if name == "rare" else 100 for name in recalls}
    hits = {name: (np.arange(rows[name]) < round(rows[name] * recall)).astype(int) for name, recall in recalls.items()}
    correct = np.concatenate(list(hits.values()))
    statistics = {"truth": np.ones(len(correct), dtype=np.int64), "answers": correct}
    return Scores({"accuracy": float(correct.mean())}, statistics, "the same", correct, hits=hits)


def with_classes(field: Field, teacher: Scores, deployed: Scores) -> Field:
    return changed(changed(field, "teacher (eager)", scores=teacher), "onnx", scores=deployed)


def test_a_heavy_loss_in_one_class_stands_in_what_to_know_though_the_mean_holds(field: Field) -> None:
    known = with_classes(field, of_classes(joy=0.83, fear=0.80), of_classes(joy=0.69, fear=0.94))
    judged, said = told(known, Gates(max_drop=0.1, min_speedup=2.0))
    assert judged.verdict.outcome is Outcome.PASS, judged.verdict.sentence
    assert said[0].startswith(
        "The class joy falls from a recall of 83.00 % (teacher) to 69.00 % (deployed): 14.00 points ["
    )
    assert said[0].endswith(" on 100 rows.")
    assert not any("fear" in line for line in said)


def test_a_loss_that_may_be_chance_is_told_as_such(field: Field) -> None:
    lost = of_classes(**{f"class {place}": 0.80 for place in range(30)} | {"joy": 0.76})
    kept = of_classes(**{f"class {place}": 0.80 for place in range(30)} | {"joy": 0.82})
    _, said = told(with_classes(field, kept, lost))
    assert said[0].endswith("on 100 rows, too few to be sure.")


@pytest.mark.parametrize(
    ("limit", "after", "outcome"),
    [(0.25, 0.69, Outcome.PASS), (0.15, 0.69, Outcome.INCONCLUSIVE), (0.05, 0.60, Outcome.FAIL)],
)
def test_the_worst_classs_pessimistic_end_is_held_against_its_limit(
    field: Field, limit: float, after: float, outcome: Outcome
) -> None:
    known = with_classes(field, of_classes(joy=0.83, fear=0.80), of_classes(joy=after, fear=0.94))
    judged, _ = told(known, Gates(max_class_drop=limit))
    assert judged.verdict.outcome is outcome, judged.verdict.sentence
    assert "recall of joy" in judged.verdict.sentence


def test_a_class_with_too_few_rows_never_lets_the_limit_pass_and_is_named(field: Field) -> None:
    known = with_classes(field, of_classes(joy=0.83, rare=1.0), of_classes(joy=0.83, rare=1.0))
    judged, said = told(known, Gates(max_class_drop=0.3))
    assert judged.verdict.outcome is Outcome.INCONCLUSIVE
    assert "rare: fewer than 10 evaluation rows" in judged.verdict.gates[0].sentence
    assert said[-1] == (
        "1 of 2 classes has fewer than 10 evaluation rows, so that nothing is known of what is lost there: rare."
    )


# noise --------------------------------------------------------------------------------------------------------


def test_noise_and_a_cap_that_touch_every_timing_are_said_once(field: Field) -> None:
    rng = np.random.default_rng(0)
    for one in field.entries:
        if one.timing is not None:
            blocks = (
                replace(block, ns=tuple(int(ns * rng.lognormal(0, 0.1)) for ns in block.ns))
                for block in one.timing.blocks
            )
            field = changed(field, one.name, timing=replace(one.timing, settled=False, blocks=tuple(blocks)))
    _, said = told(field)
    (line,) = (line for line in said if "noisy" in line)
    assert line.startswith("All 3 timings are noisy: single requests of one input spread by ")
    assert "all 3 timings are cut short at the cap of 15 s" in line


def test_quiet_timings_say_nothing(field: Field) -> None:
    _, said = told(field)
    assert said == []
