"""Transcripts as they are learnt and scored, and as a network's frames spell them."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kd2deploy.errors import DataError

Unknown = Literal["refuse", "drop"]
"""What is done with characters that no symbol writes, such as punctuation."""
APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\u00b4`", "'"))
DASHES = str.maketrans(dict.fromkeys("-\u2010\u2011\u2013\u2014/_", " "))
"""What stands between words where it is dropped."""
Points = NDArray[np.int32]


@dataclass(frozen=True)
class Transcripts:
    """What symbols write, by number; `blank` writes nothing and parts equal symbols."""

    pieces: tuple[str, ...]
    blank: int
    unknown: Unknown = "refuse"

    @cached_property
    def characters(self) -> frozenset[str]:
        return frozenset("".join(self.pieces)) | {" "}

    @cached_property
    def case(self) -> Literal["upper", "lower", ""]:
        """The one case that the vocabulary has; none where it has both or neither."""
        upper, lower = (any(test(one) for one in self.characters) for test in (str.isupper, str.islower))
        return "" if upper == lower else "upper" if upper else "lower"

    def read(self, text: str) -> str:
        """A text in the vocabulary's case with single spaces; what it cannot write is dropped, where that was asked."""
        text = unicodedata.normalize("NFC", text).translate(APOSTROPHES)
        text = text.upper() if self.case == "upper" else text.lower() if self.case == "lower" else text
        if self.unknown == "drop":
            text = "".join(one for one in self.with_gaps(text) if one in self.characters)
        return " ".join(text.split())

    def with_gaps(self, text: str) -> str:
        """Dashes that no symbol writes, and every white space, as spaces."""
        gaps = {place: to for place, to in DASHES.items() if chr(place) not in self.characters}
        return "".join(" " if one.isspace() else one for one in text.translate(gaps))

    def foreign(self, text: str) -> str:
        """The characters of a text, as it is read, that no symbol writes."""
        return "".join(dict.fromkeys(one for one in self.read(text) if one not in self.characters))

    def said(self, symbols: Sequence[int]) -> str:
        """What the likeliest symbols [T] of a row's frames spell: repeats are one, blanks are nothing."""
        kept = [
            one for one, before in zip(symbols, [self.blank, *symbols], strict=False) if one not in (before, self.blank)
        ]
        return " ".join("".join(self.pieces[one] for one in kept).split())

    def right(self, row: Any) -> str:
        """What is right of a row. Raises DataError for one without a transcript that has a word."""
        label = row.get("label")
        where = f"row {row.get('index', '?')}"
        if label is None:
            raise DataError(f"{where} has no transcript, and only rows with one can be scored")
        text = self.read(str(label))
        if not text:
            raise DataError(f"{where}: nothing is left of the transcript {label!r}; remove the row")
        return text


def points(text: str) -> Points:
    """The characters of a text, by number."""
    return np.array([ord(one) for one in text], dtype=np.int32)


def text_of(numbers: Points) -> str:
    """The text again."""
    return "".join(map(chr, numbers))
