"""Transcripts as they are learnt, scored and decoded."""

import numpy as np
import pytest

from kd2deploy.errors import DataError
from kd2deploy.networks.ctc_vocabulary import pieces_of
from kd2deploy.tasks._transcripts import Transcripts, points, text_of

LOWER = Transcripts(pieces_of("abcdefghijklmnopqrstuvwxyz'"), 0)
UPPER = Transcripts(pieces_of("ABC"), 0)
BOTH = Transcripts(pieces_of("aA"), 0)


def test_the_case_is_the_vocabularys_where_it_has_one() -> None:
    assert LOWER.read("Don\u2019t  PANIC\n") == "don't panic"
    assert UPPER.read("abc") == "ABC"
    assert BOTH.read("aA") == "aA"


def test_characters_without_a_symbol_are_named_or_dropped() -> None:
    assert LOWER.foreign("seven, 8!") == ",8!"
    assert LOWER.foreign("seven") == ""
    dropping = Transcripts(LOWER.pieces, 0, "drop")
    assert dropping.read("well-known, 8 words!") == "well known words"
    assert dropping.foreign("well-known, 8 words!") == ""
    assert LOWER.read("well-known") == "well-known", "refused elsewhere"


def test_a_dash_that_the_vocabulary_writes_stays() -> None:
    assert Transcripts(pieces_of("ab-"), 0, "drop").read("a-b") == "a-b"


@pytest.mark.parametrize(
    ("symbols", "said"),
    [
        ([0, 3, 3, 0, 3, 4, 4, 0], "aab"),
        ([3, 2, 2, 0, 2, 4], "a b"),
        ([2, 3, 2], "a"),
        ([1, 3, 1], "a"),
        ([0, 0], ""),
        ([], ""),
    ],
)
def test_repeats_are_one_and_blanks_nothing(symbols: list[int], said: str) -> None:
    assert Transcripts(pieces_of("ab"), 0).said(symbols) == said


def test_the_blank_may_be_any_class() -> None:
    assert Transcripts(("a", "b", ""), 2).said([2, 0, 2, 0, 1]) == "aab"


def test_rows_without_words_are_refused() -> None:
    with pytest.raises(DataError, match="row 3 has no transcript"):
        LOWER.right({"label": None, "index": 3})
    with pytest.raises(DataError, match=r"nothing is left of the transcript '\?!'"):
        Transcripts(LOWER.pieces, 0, "drop").right({"label": "?!", "index": 3})


def test_characters_by_number_come_back() -> None:
    assert text_of(points("straße 日本 😀")) == "straße 日本 😀"
    assert points("").dtype == np.int32
