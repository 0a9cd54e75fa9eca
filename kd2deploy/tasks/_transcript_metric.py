"""Word and character error rates: edits over what was said, both summed over the examples, counted by jiwer.

Every utterance keeps its edits and its words, so that an interval is of the rate itself: a mean over utterances is
another figure, which a short one moves as much as a long one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from kd2deploy.core import Array, Metric, Row, Scores, mark_of
from kd2deploy.core.figures import count_of
from kd2deploy.errors import DataError
from kd2deploy.tasks._transcripts import Transcripts, points, text_of

Rate = Literal["wer", "cer"]
COUNTED: Mapping[str, tuple[str, str]] = {"wer": ("word_edits", "words"), "cer": ("edits", "characters")}
"""What each rate is the ratio of."""
MISSING = "word error rates are counted by jiwer; pip install 'kd2deploy[speech]'"


class TranscriptMetric(Metric):
    """The likeliest symbol of every frame, read as `Transcripts.said` (greedy decoding, no language model)."""

    unit = "share"
    higher_is_better = False

    def __init__(self, transcripts: Transcripts, name: str) -> None:
        if name not in get_args(Rate):
            raise ValueError(f"metric {name!r} does not fit transcripts; choose one of {', '.join(get_args(Rate))}")
        self.transcripts, self.name = transcripts, name

    def statistics(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Mapping[str, Array]:
        check(outputs["logits"], rows)
        right, said = [self.transcripts.right(row) for row in rows], self.spelt(outputs)
        counts = np.array([counted(one, other) for one, other in zip(right, said, strict=True)], dtype=np.int64)
        names = ("word_edits", "words", "edits", "characters")
        found: dict[str, Array] = {name: counts[:, place] for place, name in enumerate(names)}
        return {**found, "right": ragged(right), "said": ragged(said)}

    def scores(self, statistics: Mapping[str, Array]) -> Scores:
        exact = (statistics["edits"] == 0).astype(np.float64)
        rates = {name: rate(statistics, name) for name in COUNTED}
        return Scores({**rates, "exact": float(exact.mean())}, statistics, mark_of(statistics["right"]))

    def at(self, statistics: Mapping[str, Array], places: Array) -> float:
        edits, said = (statistics[name][places] for name in COUNTED[self.name])
        return float(edits.sum() / said.sum())

    def kept(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"said": ragged(self.spelt(outputs))}

    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        """`top1`: the share of characters that both write, mean over the utterances; 1 where both write nothing.

        Whole transcripts that are equal would say little of a sound conversion: one letter in a long one may differ.
        """
        pairs = zip(one["said"], other["said"], strict=True)
        return {"top1": float(np.mean([likeness(text_of(mine), text_of(theirs)) for mine, theirs in pairs]))}

    def wrong(self, statistics: Mapping[str, Array]) -> Array:
        return statistics["word_edits"]

    def told(self, statistics: Mapping[str, Array], place: int) -> tuple[str, str]:
        right, said = (text_of(statistics[name][place]) for name in ("right", "said"))
        return right, marked(right, said)

    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        return [{"transcript": text} for text in self.spelt(outputs)]

    def spelt(self, outputs: Mapping[str, Array]) -> list[str]:
        """What was said in each row, by logits [B, T, C]; frames that are padding answer the blank."""
        return [self.transcripts.said(row) for row in outputs["logits"].argmax(-1).tolist()]


def counted(right: str, said: str) -> tuple[int, int, int, int]:
    """Edits and words, edits and characters: what is substituted, left out or put in, and of how many."""
    return (
        edits_between(right, said, "words"),
        len(right.split()),
        edits_between(right, said, "characters"),
        len(right),
    )


def edits_between(right: str, said: str, of: Literal["words", "characters"]) -> int:
    """The fewest words, or characters, to be substituted, left out or put in."""
    try:
        import jiwer
    except ImportError as error:
        raise DataError(MISSING) from error
    if not right or not said:  # an empty side is no sentence to jiwer
        there = right or said
        return len(there.split()) if of == "words" else len(there)
    found = jiwer.process_words(right, said) if of == "words" else jiwer.process_characters(right, said)
    return int(found.substitutions + found.deletions + found.insertions)


def marked(right: str, said: str) -> str:
    """What was said, its edits marked: `[two > too]` taken for others, `[two > ]` left out, `[ > too]` put in."""
    words, spoken = right.split(), said.split()
    if not words or not spoken:
        return f"[{right} > {said}]" if words or spoken else ""
    import jiwer

    (chunks,) = jiwer.process_words(right, said).alignments
    parts: list[str] = []
    for chunk in chunks:
        one = words[chunk.ref_start_idx : chunk.ref_end_idx]
        other = spoken[chunk.hyp_start_idx : chunk.hyp_end_idx]
        parts += other if chunk.type == "equal" else [f"[{' '.join(one)} > {' '.join(other)}]"]
    return " ".join(parts)


def likeness(one: str, other: str) -> float:
    """Share of the longer one's characters that no edit touches, 0..1."""
    edits = edits_between(one, other, "characters")
    return 1 - edits / max(len(one), len(other), 1)


def rate(statistics: Mapping[str, Array], name: str) -> float:
    edits, said = (statistics[one].sum() for one in COUNTED[name])
    return float(edits / said)


def check(logits: Array, rows: Sequence[Row]) -> None:
    """Raises DataError unless there are finite outputs for every row."""
    if len(logits) != len(rows) or not len(rows):
        raise DataError(f"{count_of(len(logits), 'output')} cannot be scored against {count_of(len(rows), 'row')}")
    finite = np.isfinite(logits).all((-2, -1))
    if not finite.all():
        row = rows[int(np.argmin(finite))].get("index", "?")
        raise DataError(f"the output for row {row} is not finite; the network or its conversion is broken")


def ragged(texts: Sequence[str]) -> Array:
    """[N] arrays of characters."""
    found = np.empty(len(texts), dtype=object)
    for place, text in enumerate(texts):
        found[place] = points(text)
    return found
