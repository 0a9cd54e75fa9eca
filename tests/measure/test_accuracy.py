"""Scores of real sessions, in processes of their own and in this one."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from measured_sessions import CPU, Parity, SumSession, numbered_rows, onnx_artifact, sum_artifact

from kd2deploy.errors import MeasureError, SessionError
from kd2deploy.measure.accuracy import by_length, score, score_open, timing_feeds
from kd2deploy.measure.scorer import in_row_order
from kd2deploy.measure.timing import Contender

TASK = Parity()
ROWS = numbered_rows(50)
FEATURES = TASK.reader.encode(ROWS, Path())


def test_a_fresh_process_scores_what_this_one_does(tmp_path: Path) -> None:
    artifact = sum_artifact(tmp_path)
    alone = score(Contender("sum", artifact), TASK, CPU, FEATURES, ROWS, batch=8)
    with SumSession(artifact, TASK, CPU) as session:
        here = score_open(session, TASK, FEATURES, ROWS, batch=8)
    assert alone.scores.metrics == {"accuracy": 1.0}
    np.testing.assert_array_equal(alone.kept["logits"], here.kept["logits"])
    assert alone.describe["pid"] != here.describe["pid"]


def test_outputs_come_back_in_the_order_of_the_rows(tmp_path: Path) -> None:
    found = score(Contender("onnx", onnx_artifact(tmp_path)), TASK, CPU, FEATURES, ROWS, batch=7)
    sums = [row["numbers"].sum() for row in ROWS]
    np.testing.assert_allclose(found.kept["logits"][:, 1], sums, rtol=1e-5, atol=1e-6)


def test_batches_hold_examples_of_like_length_and_every_example_once() -> None:
    batches = by_length(TASK, FEATURES, 8)
    lengths = [[TASK.reader.length(FEATURES[place]) for place in places] for places in batches]
    assert sorted(place for places in batches for place in places) == list(range(50))
    assert all(min(before) >= max(after) for before, after in itertools.pairwise(lengths))


def test_nan_outputs_are_refused(tmp_path: Path) -> None:
    artifact = sum_artifact(tmp_path)
    with pytest.raises(MeasureError, match="'logits' is not finite"):
        score(Contender("nan", artifact, {"fault": "nan"}), TASK, CPU, FEATURES, ROWS)
    with SumSession(artifact, TASK, CPU, fault="nan") as session, pytest.raises(MeasureError, match="not finite"):
        score_open(session, TASK, FEATURES, ROWS)


def test_a_session_that_refuses_raises_its_own_error(tmp_path: Path) -> None:
    contender = Contender("elsewhere", sum_artifact(tmp_path), {"provider": "CUDAExecutionProvider"})
    with pytest.raises(SessionError, match="only numpy is active"):
        score(contender, TASK, CPU, FEATURES, ROWS)


def test_a_process_that_dies_is_an_error_and_no_score(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="ended with exit code 7 at 'outputs': out of something"):
        score(Contender("dies", sum_artifact(tmp_path), {"fault": "dies"}), TASK, CPU, FEATURES, ROWS, batch=2)


def test_axes_that_differ_between_batches_are_filled_up() -> None:
    parts = [{"frames": np.ones((2, 5, 3))}, {"frames": np.full((1, 2, 3), 2.0)}]
    whole = in_row_order(parts, [[2, 0], [1]])["frames"]
    assert whole.shape == (3, 5, 3)
    assert whole[:, :, 0].tolist() == [[1] * 5, [2, 2, 0, 0, 0], [1] * 5]


def test_an_output_without_a_batch_axis_is_refused() -> None:
    with pytest.raises(MeasureError, match="its first axis must be the batch"):
        in_row_order([{"logits": np.ones((1, 2))}], [[0, 1]])


def test_requests_are_drawn_from_the_examples_without_repeating_them() -> None:
    feeds = timing_feeds(TASK, FEATURES, batch=4, inputs=256)
    assert len(feeds) == 12
    assert {len(feed["x"]) for feed in feeds} == {4}
    first = [float(row) for feed in feeds for row in feed["x"][:, 0]]
    assert len(set(first)) == 48
    again = timing_feeds(TASK, FEATURES, batch=4, inputs=256)
    assert all(np.array_equal(one["x"], other["x"]) for one, other in zip(feeds, again, strict=True))


def test_a_batch_larger_than_the_evaluation_set_repeats_its_rows() -> None:
    (feed,) = timing_feeds(TASK, FEATURES[:3], batch=8, inputs=5)
    assert len(feed["x"]) == 8


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    with SumSession(sum_artifact(tmp_path), TASK, CPU) as session:
        with pytest.raises(MeasureError, match="at least one row"):
            score_open(session, TASK, [], [])
        with pytest.raises(MeasureError, match="50 encoded examples cannot be scored against 49 rows"):
            score_open(session, TASK, FEATURES, ROWS[1:])
