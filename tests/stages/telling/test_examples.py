"""The rows whose answers changed most, for a task that shows its answers."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kd2deploy.core import Scores
from kd2deploy.core.examples import Example
from kd2deploy.stages.telling.examples import LOST, WON, examples
from kd2deploy.tasks._class_metric import ClassMetric
from kd2deploy.tasks._transcript_metric import ragged
from kd2deploy.tasks.speech_ctc import SpeechCtc

pytest.importorskip("jiwer", reason="jiwer is not installed (extra speech)")


def scored(edits: list[int]) -> Scores:
    """An utterance of one letter each, with so many wrong words put in."""
    said = ["" if not count else "b" * count for count in edits]
    statistics = {"word_edits": np.array(edits), "right": ragged(["a"] * len(edits)), "said": ragged(said)}
    return Scores({}, statistics, "same")


def field(before: Scores | None, after: Scores | None, metric: Any = None) -> Any:
    model = SimpleNamespace(task=SimpleNamespace(metric=metric or SpeechCtc().metric))
    return SimpleNamespace(
        scores=lambda role: before,
        compared_with=lambda kind: "teacher",
        deployed=SimpleNamespace(scores=after, model=model),
    )


def test_the_worst_come_first_then_what_got_better() -> None:
    before, after = [1, 0, 2, 3, 0], [1, 1, 0, 3, 4]
    found = examples(field(scored(before), scored(after)))
    assert [one.row for one in found] == [4, 1, 2]
    assert found[0] == Example(4, "a", "[a > ]", "[a > bbbb]")


def test_no_more_are_shown_than_a_person_reads() -> None:
    before, after = [0] * 30 + [5] * 30, [5] * 30 + [0] * 30
    found = examples(field(scored(before), scored(after)))
    assert len(found) == LOST + WON
    assert [one.row for one in found[:LOST]] == list(range(LOST))


def test_nothing_is_shown_where_nothing_changed_or_can_be_shown() -> None:
    same = scored([1, 0, 2])
    assert examples(field(same, same)) == ()
    assert examples(field(None, same)) == ()
    assert examples(field(same, scored([0, 0, 0]), ClassMetric(("a", "b"), "accuracy"))) == ()
