"""Digits that eSpeak NG speaks; skipped where its wheel was not fetched yet."""

import io
import platform
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from kd2deploy.core.cache import cache_folder
from kd2deploy.data import _espeak
from kd2deploy.data.spoken_digits import JUDGED, TRAINED, WORDS, encoded, roughened, spoken_digits, strings
from kd2deploy.errors import DataError

WHEEL = _espeak.WHEELS.get((sys.platform, platform.machine()))
HERE = WHEEL is not None and (cache_folder() / WHEEL.file).is_file()
fetched = pytest.mark.skipif(not HERE, reason="eSpeak's wheel was not fetched yet (kd2deploy demo --task speech does)")


def samples_of(audio: bytes) -> tuple[int, "np.ndarray[tuple[int], np.dtype[np.int16]]"]:
    with wave.open(io.BytesIO(audio)) as file:
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")


def test_the_voices_that_judge_never_teach() -> None:
    assert not set(TRAINED) & set(JUDGED)
    assert len(set(TRAINED)) == 24
    assert len(set(JUDGED)) == 10


def test_no_string_is_said_twice() -> None:
    known: set[str] = set()
    drawn = np.random.default_rng(0)
    one, other = strings(300, 5, drawn, known), strings(100, 5, drawn, known)
    assert len({*one, *other}) == 400
    assert all(set(text.split()) <= set(WORDS) and 2 <= len(text.split()) <= 5 for text in (*one, *other))
    assert strings(300, 5, np.random.default_rng(0), set()) == one
    with pytest.raises(DataError, match="too few strings of 2 to 2 digits"):
        strings(101, 2, drawn, set())


def test_noise_lies_under_speech_that_keeps_its_length() -> None:
    said = (20_000 * np.sin(np.arange(8000) / 5)).astype(np.int16)
    found = roughened(said, np.random.default_rng(0))
    assert found.shape == said.shape
    assert np.corrcoef(found, said)[0, 1] > 0.95
    assert not np.array_equal(found, roughened(said, np.random.default_rng(1)))
    assert np.isfinite(roughened(np.zeros(100, dtype=np.int16), np.random.default_rng(0))).all()


def test_a_wav_file_comes_back() -> None:
    samples = np.array([0, 1, -1, 32767, -32768], dtype=np.int16)
    rate, found = samples_of(encoded(samples, 22_050))
    assert rate == 22_050
    assert found.tolist() == samples.tolist()


@pytest.mark.parametrize("arguments", [{"train": 1}, {"eval": 1}, {"digits": 1}, {"digits": 40}])
def test_counts_that_make_no_data_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(DataError, match="two rows or more and 2 to 12 digits"):
        spoken_digits(**arguments)


def test_a_machine_without_a_pinned_library_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(DataError, match=r"no library for .* on vax"):
        _espeak.library_folder(tmp_path)


@fetched
def test_digits_are_spoken_alike_by_a_seed() -> None:
    one, again = spoken_digits(train=6, eval=4), spoken_digits(train=6, eval=4)
    assert list(one.train) == list(again.train)
    assert (len(one.train), len(one.eval)) == (6, 4)
    for row in (*one.train, *one.eval):
        rate, samples = samples_of(row["audio"])
        words = len(row["label"].split())
        assert 0.15 * words < len(samples) / rate < 1.5 * words + 1
        assert np.abs(samples.astype(int)).max() > 2000
    assert list(spoken_digits(train=6, eval=4, seed=1).train) != list(one.train)


@fetched
def test_every_voice_speaks() -> None:
    rate, said = _espeak.spoken([_espeak.Line("seven", voice) for voice in (*TRAINED, *JUDGED)])
    assert rate == 22_050
    assert all(len(samples) > 3000 for samples in said)
    assert len({samples.tobytes() for samples in said}) == len(said)


@fetched
def test_a_voice_that_there_is_not_is_refused() -> None:
    with pytest.raises(DataError, match="nothing was spoken: eSpeak has no voice 'en-nowhere'"):
        _espeak.spoken([_espeak.Line("seven", "en-nowhere")])
