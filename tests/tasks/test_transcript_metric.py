"""Word and character error rates: counted by jiwer, kept per utterance, compared in pairs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd2deploy.core import Scores
from kd2deploy.errors import DataError
from kd2deploy.measure.paired import bootstrap_difference, score_difference, worth_at
from kd2deploy.measure.scorer import Scorer, read_evaluation, write_evaluation
from kd2deploy.networks.ctc_vocabulary import pieces_of
from kd2deploy.tasks._transcript_metric import TranscriptMetric, edits_between, marked
from kd2deploy.tasks._transcripts import Transcripts, text_of
from kd2deploy.tasks.speech_ctc import SpeechCtc

jiwer = pytest.importorskip("jiwer", reason="jiwer is not installed (extra speech)")
PIECES = pieces_of("abcd")
RIGHT = ["ab c", "d", "a b cc"]


def logits_of(texts: list[str], length: int = 20) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """[B, length, C] that spell the texts, a blank between all symbols."""
    places = np.zeros((len(texts), length), dtype=int)
    for row, text in enumerate(texts):
        places[row, 1 : 2 * len(text) : 2] = [PIECES.index(letter) for letter in text]
    return np.eye(len(PIECES), dtype=np.float32)[places]


def rows_of(texts: list[str]) -> list[dict[str, Any]]:
    return [{"label": text, "index": place} for place, text in enumerate(texts)]


def metric(name: str = "wer") -> TranscriptMetric:
    return TranscriptMetric(Transcripts(PIECES, 0), name)


def test_rates_are_jiwers_over_all_rows_together() -> None:
    said = ["ab d", "", "a bb c c"]
    found = metric().score({"logits": logits_of(said)}, rows_of(RIGHT))
    assert found.metrics["wer"] == pytest.approx(jiwer.wer(RIGHT, said))
    assert found.metrics["cer"] == pytest.approx(jiwer.cer(RIGHT, said))
    assert found.metrics["exact"] == 0
    assert found.statistics["words"].tolist() == [2, 1, 3]
    assert found.statistics["word_edits"].tolist() == [1, 1, 3]
    assert [text_of(one) for one in found.statistics["said"]] == said


@pytest.mark.parametrize(
    ("right", "said", "words", "characters"),
    [("ab c", "ab c", 0, 0), ("ab c", "", 2, 4), ("a", "a b", 1, 2), ("", "a b", 2, 3), ("", "", 0, 0)],
)
def test_edits_by_hand(right: str, said: str, words: int, characters: int) -> None:
    assert edits_between(right, said, "words") == words
    assert edits_between(right, said, "characters") == characters


@pytest.mark.parametrize("name", ["wer", "cer"])
def test_the_headline_of_any_rows_is_a_ratio_of_sums(name: str) -> None:
    found = metric(name).score({"logits": logits_of(["ab c", "c", "a b"])}, rows_of(RIGHT))
    whole = metric(name).at(found.statistics, np.arange(3))
    assert whole == found.metrics[name]
    assert metric(name).at(found.statistics, np.array([1, 1])) == 1.0
    assert metric(name).at(found.statistics, np.array([0, 0])) == 0.0


def test_statistics_come_back_from_a_file_whatever_the_batches(tmp_path: Path) -> None:
    said = ["ab d", "", "a bb c c"]
    scorer = Scorer(metric(), rows_of(RIGHT))
    scorer.add({"logits": logits_of([said[2]], 24)}, [2])
    scorer.add({"logits": logits_of(said[:2], 12)}, [0, 1])
    found = scorer.finish()
    write_evaluation(found, tmp_path / "scored.npz")
    again = read_evaluation(tmp_path / "scored.npz", metric())
    assert again is not None
    assert again.scores.metrics == found.scores.metrics
    assert again.scores.examples == found.scores.examples
    assert [text_of(one) for one in again.kept["said"]] == said


def test_agreement_is_of_characters() -> None:
    one, other = ({"logits": logits_of(texts)} for texts in (["abcd", ""], ["abca", ""]))
    assert metric().alike(one, one) == {"top1": 1.0}
    assert metric().alike(one, other) == {"top1": pytest.approx(0.875)}


def test_an_answer_is_what_was_said() -> None:
    assert metric().answer({"logits": logits_of(["ab c"])}) == [{"transcript": "ab c"}]


def test_what_cannot_be_scored_is_refused() -> None:
    broken = logits_of(RIGHT)
    broken[1, 4, 2] = np.nan
    with pytest.raises(DataError, match="the output for row 1 is not finite"):
        metric().statistics({"logits": broken}, rows_of(RIGHT))
    with pytest.raises(DataError, match="2 outputs cannot be scored against 3 rows"):
        metric().statistics({"logits": logits_of(RIGHT[:2])}, rows_of(RIGHT))
    with pytest.raises(ValueError, match="choose one of wer, cer"):
        metric("accuracy")


@pytest.mark.parametrize(
    ("right", "said", "shown"),
    [
        ("a b c", "a d c", "a [b > d] c"),
        ("a b c", "a c", "a [b > ] c"),
        ("a c", "a b c", "a [ > b] c"),
        ("a b", "a b", "a b"),
        ("a b", "", "[a b > ]"),
    ],
)
def test_edits_are_marked_for_a_person(right: str, said: str, shown: str) -> None:
    assert marked(right, said) == shown
    found = metric().statistics({"logits": logits_of([said])}, rows_of([right]))
    assert metric().told(found, 0) == (right, shown)


def counts(edits: "np.ndarray[Any, Any]", words: "np.ndarray[Any, Any]") -> Scores:
    return Scores({"wer": edits.sum() / words.sum()}, {"word_edits": edits, "words": words}, "same")


def utterances(drawn: np.random.Generator, count: int = 120) -> tuple[Scores, Scores]:
    """A teacher and a student on the same utterances, some hard for both: 0.10 and 0.15 of the words are wrong."""
    words = drawn.integers(3, 15, count)
    hard = 0.6 * drawn.beta(1, 5, count)
    return counts(drawn.binomial(words, hard), words), counts(drawn.binomial(words, 1.5 * hard), words)


def test_the_interval_of_a_drop_covers_the_true_one() -> None:
    """The words of an utterance are right or wrong together, so that an interval over words would be too narrow."""
    task, covered, sets = SpeechCtc(), 0, 120
    drawn = np.random.default_rng(2026)
    for _ in range(sets):
        teacher, student = utterances(drawn)
        found = bootstrap_difference(worth_at(task, teacher), worth_at(task, student), 120, drawn, resamples=200)
        covered += found.low <= 0.05 <= found.high
    assert 0.88 <= covered / sets <= 0.99


def test_a_drop_is_paired() -> None:
    """What is hard for both is no difference: the interval is narrower than of rows that have nothing in common."""
    drawn = np.random.default_rng(0)
    words = drawn.integers(3, 15, 300)
    hard = np.where(np.arange(300) % 2 == 0, 0.9, 0.02)
    teacher = counts(drawn.binomial(words, hard), words)
    student = counts(np.minimum(words, teacher.statistics["word_edits"] + (drawn.random(300) < 0.1)), words)
    shuffled = drawn.permutation(300)
    other = counts(student.statistics["word_edits"][shuffled], words[shuffled])
    together, apart = (
        score_difference(SpeechCtc(), teacher, one, np.random.default_rng(1)) for one in (student, other)
    )
    assert together.high - together.low < 0.5 * (apart.high - apart.low)
    assert together.low > 0, "a drop in a rate of errors is a rise"
