"""Strings of spoken digits, made by eSpeak NG in many voices: real synthetic speech with exact transcripts.

The voices that judge never speak in training, and nor do the strings that they say. Speed, pitch, loudness and noise
differ from row to row. What is learnt here knows eSpeak's voices and no people.
"""

import io
import wave
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd2deploy.data._espeak import PACKAGE, Line, spoken
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-us", "en")
TAUGHT_BY = ("m1", "m3", "m5", "m7", "f1", "adam", "benjamin", "linda", "steph", "max", "Andrea", "Annie")
JUDGED_BY = ("m6", "m4", "Michael", "belinda", "anika")
"""None of which has an echo: eSpeak plays what its memory held before, so that it never sounds the same twice."""
TRAINED, JUDGED = (
    tuple(f"{accent}+{voice}" for accent in ACCENTS for voice in voices) for voices in (TAUGHT_BY, JUDGED_BY)
)
RATES, PITCHES = (110, 180), (30, 70)
LOUDNESS, NOISE = (0.2, 1.0), (15.0, 40.0)
"""Share of the full scale, and decibels that the noise lies below the speech."""
MOST_TRIES = 100
"""Strings that are drawn for each row, at most, until one is new."""


def spoken_digits(train: int = 2000, eval: int = 500, digits: int = 5, seed: int = 0) -> Tables:
    """`train` and `eval` rows of 2 to `digits` words each, as wav files in memory.

    Raises DataError where eSpeak's wheel is neither here nor to be had.
    """
    if train < 2 or eval < 2 or not 2 <= digits <= 12:
        raise DataError(f"spoken_digits takes two rows or more and 2 to 12 digits, got {train}, {eval} and {digits}")
    drawn = np.random.default_rng(seed)
    known: set[str] = set()
    asked = {
        "train": lines(strings(train, digits, drawn, known), TRAINED, drawn),
        "eval": lines(strings(eval, digits, drawn, known), JUDGED, drawn),
    }
    rows = {split: rows_of(those, drawn) for split, those in asked.items()}
    about = (
        f"digits spoken by eSpeak NG ({PACKAGE}): {len(TRAINED)} voices to learn from, {len(JUDGED)} others to judge"
    )
    return Tables(
        train=rows["train"],
        eval=rows["eval"],
        about=about,
        names={"train": "spoken digits (train)", "eval": "spoken digits (other voices)"},
    )


def strings(count: int, digits: int, drawn: np.random.Generator, known: set[str]) -> list[str]:
    """So many different strings, none of which is `known`; these are added."""
    found: list[str] = []
    for _ in range(MOST_TRIES * count):
        text = " ".join(WORDS[one] for one in drawn.integers(0, 10, drawn.integers(2, digits + 1)))
        if text not in known:
            known.add(text)
            found.append(text)
        if len(found) == count:
            return found
    raise DataError(f"there are too few strings of 2 to {digits} digits for so many rows; raise `digits`")


def lines(texts: Sequence[str], voices: Sequence[str], drawn: np.random.Generator) -> list[Line]:
    """Who says each text, and how."""
    return [
        Line(text, voices[int(drawn.integers(len(voices)))], int(drawn.integers(*RATES)), int(drawn.integers(*PITCHES)))
        for text in texts
    ]


def rows_of(asked: Sequence[Line], drawn: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of audio with their transcript."""
    sampling_rate, said = spoken(asked)
    return [
        {"audio": encoded(roughened(samples, drawn), sampling_rate), "label": line.text}
        for line, samples in zip(asked, said, strict=True)
    ]


def roughened(said: NDArray[np.int16], drawn: np.random.Generator) -> NDArray[np.int16]:
    """The speech at another loudness, with noise under it."""
    speech = said.astype(np.float64) / max(1, int(np.abs(said.astype(np.int32)).max())) * drawn.uniform(*LOUDNESS)
    level = np.sqrt(np.mean(speech**2)) * 10 ** (-drawn.uniform(*NOISE) / 20)
    noisy = speech + level * drawn.standard_normal(len(speech))
    return np.asarray(np.clip(noisy, -1, 1) * 32767, dtype=np.int16)


def encoded(samples: NDArray[np.int16], sampling_rate: int) -> bytes:
    """A wav file of one channel."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sampling_rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()
