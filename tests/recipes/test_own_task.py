"""A task of one's own whose targets differ in length and whose metric falls, through everything and unknown to it; its
file is opened by a session of one's own."""

import csv
from pathlib import Path

import numpy as np
import pytest
from recipes.small_run import recipe, write_rows
from transcripts import ErrorRate, Transcripts, transcript
from transformers import AutoConfig, AutoModelForTokenClassification

from kd2deploy.core import Gates
from kd2deploy.flows.compress import compress
from kd2deploy.measure.intervals import Interval
from kd2deploy.measure.paired import gap_closed, score_difference, score_retention, worth_at
from kd2deploy.measure.phrases import Metric as Told
from kd2deploy.measure.scorer import Scorer, read_evaluation, write_evaluation
from kd2deploy.measure.verdict import Outcome, judge
from kd2deploy.recipe import Recipe

ROWS = [{"text": "", "label": label, "index": place} for place, label in enumerate(["+", "+-", "--", "+-+"] * 50)]
RIGHT = [[1], [1, 2], [2, 2], [1, 2, 1]]


def logits(wrong: float, seed: int) -> np.ndarray:
    """Answers [N, 7, 3] of which a share has another first symbol."""
    drawn = np.random.default_rng(seed)
    places = np.zeros((len(ROWS), 7), dtype=int)
    for row in range(len(ROWS)):
        said = list(RIGHT[row % 4])
        if drawn.random() < wrong:
            said[0] = 3 - said[0]
        places[row, : 2 * len(said) : 2] = said
    return np.eye(3)[places]


def scored(wrong: float, seed: int = 0):
    """In batches of any order."""
    scorer, outputs = Scorer(ErrorRate(), ROWS), logits(wrong, seed)
    for places in np.array_split(np.random.default_rng(1).permutation(len(ROWS)), 7):
        scorer.add({"logits": outputs[places]}, places.tolist())
    return scorer.finish()


def test_scores_are_sums_over_sums_whatever_the_batches() -> None:
    found, whole = scored(0.3).scores, ErrorRate().score({"logits": logits(0.3, 0)}, ROWS)
    statistics = found.statistics
    assert found.metrics["error_rate"] == statistics["edits"].sum() / statistics["symbols"].sum()
    assert found.metrics == whole.metrics
    assert found.examples == whole.examples
    np.testing.assert_array_equal(statistics["edits"], whole.statistics["edits"])
    assert found.metrics["error_rate"] != np.mean(statistics["edits"] / statistics["symbols"])


def test_what_is_kept_of_outputs_is_small_and_comes_back_from_a_file_ragged_as_it_was(tmp_path: Path) -> None:
    found = scored(0.3)
    write_evaluation(found, tmp_path / "scored.npz")
    again = read_evaluation(tmp_path / "scored.npz", ErrorRate())
    assert again is not None
    assert again.scores.metrics == found.scores.metrics
    assert again.scores.examples == found.scores.examples
    assert [one.tolist() for one in again.scores.statistics["right"][:4]] == RIGHT
    assert again.kept["symbols"].dtype == np.int8
    write_evaluation(None, tmp_path / "nothing.npz")
    assert read_evaluation(tmp_path / "nothing.npz", ErrorRate()) is None


def test_a_drop_is_always_worse_by_and_a_kept_share_never_over_one_for_it() -> None:
    task, rng = Transcripts(), np.random.default_rng(0)
    teacher, student, control = scored(0.1).scores, scored(0.2).scores, scored(0.5).scores
    drop = score_difference(task, teacher, student, rng)
    assert drop.estimate == pytest.approx(student.metrics["error_rate"] - teacher.metrics["error_rate"])
    assert 0 < drop.low < drop.estimate < drop.high
    kept = score_retention(task, student, teacher, rng)
    assert kept.estimate == pytest.approx(teacher.metrics["error_rate"] / student.metrics["error_rate"])
    assert score_retention(task, scored(0.0).scores, teacher, rng).estimate == 1, "no errors, and none are lost"
    gap = gap_closed(*(worth_at(task, one) for one in (student, teacher, control)), len(ROWS), rng)
    assert 0.5 < gap.estimate < 1


@pytest.mark.parametrize(
    ("drop", "outcome", "said"),
    [
        (Interval(0.04, 0.03, 0.045), Outcome.PASS, "error_rate 4.00 points above the teacher's (5 allowed)"),
        (Interval(0.09, 0.06, 0.12), Outcome.FAIL, "error_rate 9.00 points above the teacher's (5 allowed)"),
        (Interval(-0.02, -0.03, -0.01), Outcome.PASS, "error_rate 2.00 points below the teacher's (5 above allowed)"),
    ],
)
def test_the_verdict_tells_a_rise_as_a_rise(drop: Interval, outcome: Outcome, said: str) -> None:
    metric = Told("error_rate", "share", higher_is_better=False)
    found = judge(Gates(max_drop=0.05, min_speedup=None), {"max_drop": drop}, metric=metric)
    assert (found.outcome, found.gates[0].brief) == (outcome, said)


def test_a_batch_without_a_label_has_no_loss(tmp_path: Path) -> None:
    recipe(tmp_path)
    task, rows = Transcripts(), [{"text": text, "label": None} for text in ("good", "a bad film")]
    config = AutoConfig.from_pretrained(tmp_path / "encoder", num_labels=3)
    net = AutoModelForTokenClassification.from_config(config)
    batch = task.reader.collate(task.reader.encode(rows, tmp_path / "encoder"))
    loss = task.networks.observe(net, batch).loss
    assert loss is not None
    assert loss.item() == 0
    loss.backward()


TARGET = """
name: own
about: a session of my own
device: cpu
variants:
  own: {steps: [{use: onnx_from_torch}, {use: own_converters.own_from_onnx}]}
"""


@pytest.mark.recipe
def test_a_whole_compression(tmp_path: Path) -> None:
    target = tmp_path / "target.yaml"
    given = recipe(
        tmp_path,
        task={"use": "transcripts.Transcripts"},
        control=False,
        targets=[str(target)],
        variants=["own"],
    )
    target.write_text(TARGET)
    for split, rows, seed in (("train", 160, 0), ("eval", 120, 1)):
        write_rows(tmp_path / f"{split}.csv", rows, seed)
        with (tmp_path / f"{split}.csv").open() as stream:
            texts = [row["sentence"] for row in csv.DictReader(stream)]
        with (tmp_path / f"{split}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("sentence", "label"), *((text, transcript(text)) for text in texts)])
    given["teacher"]["fine_tune"] |= {"epochs": 6}
    given["gates"] = {"max_drop": 0.9, "min_gap_closed": None}
    (result,) = compress(Recipe.parse(given), tmp_path / "run")
    report = result.report
    assert report.task is not None
    assert (report.task.metric, report.task.higher_is_better) == ("error_rate", False)
    assert report.verdict is not None
    (gate,) = [one for one in report.verdict.gates if one.name == "max_drop"]
    rates = {one.name: one.metric.value for one in report.contenders if one.metric}
    deployed = next(one for one in report.contenders if one.deployed)
    teacher = next(one for one in report.contenders if one.role == "teacher")
    assert gate.estimate.value == pytest.approx(rates[deployed.name] - rates[teacher.name])
    assert rates[teacher.name] < 1, "the teacher learnt something"
    assert (deployed.runtime, deployed.precision) == ("my own", "fp32")
    assert (tmp_path / "run" / "bundle" / "own" / "model.onnx").is_file()
