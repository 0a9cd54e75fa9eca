"""Audio files of every kind, and those that cannot be read."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_speech import noise, wav

from kd2deploy.errors import DataError
from kd2deploy.tasks._audio import decoded, heard, unreadable

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed (extra speech)")
pytest.importorskip("soxr", reason="soxr is not installed (extra speech)")


def sine(rate: int, seconds: float = 0.5, frequency: float = 440.0) -> "np.ndarray[Any, np.dtype[np.float32]]":
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)])
def test_every_kind_is_read_whatever_its_ending(kind: str, subtype: str | None, tmp_path: Path) -> None:
    path = tmp_path / "clip.dat"
    soundfile.write(path, sine(16_000), 16_000, format=kind, subtype=subtype)
    found, rate = decoded(path)
    assert rate == 16_000
    assert abs(len(found) - 8000) <= 2500, "an mp3 is padded to whole frames"
    assert np.abs(found).max() == pytest.approx(0.5, abs=0.1)
    assert unreadable(path.read_bytes()) == ""


def test_channels_are_averaged() -> None:
    left, right = sine(8000), np.zeros(4000, dtype=np.float32)
    found, _ = decoded(wav(np.stack([left, right], axis=1)))
    np.testing.assert_allclose(found, left / 2, atol=1e-3)


def test_another_rate_is_resampled_and_keeps_its_pitch() -> None:
    found = heard(wav(sine(22_050), 22_050), 8000)
    assert len(found) == 4000
    middle = found[400:-400]
    loudest = np.abs(np.fft.rfft(middle)).argmax() * 8000 / len(middle)
    assert loudest == pytest.approx(440, abs=5)
    same = wav(sine(8000))
    np.testing.assert_array_equal(heard(same, 8000), decoded(same)[0])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"", "is no audio that can be read"),
        (b"ID3 this is a text", "wav, flac, ogg, mp3, aiff and au are read"),
        (wav(np.zeros(0, dtype=np.float32)), "holds no samples"),
        (3, "audio is int; give a file's path or its bytes"),
        ("nowhere/clip.wav", "is no file that can be read"),
    ],
)
def test_what_cannot_be_read_is_said(value: Any, words: str) -> None:
    assert words in unreadable(value)
    with pytest.raises(DataError, match=words):
        decoded(value)


def test_samples_that_are_no_numbers_are_refused() -> None:
    stream = io.BytesIO()
    soundfile.write(stream, np.array([0.0, np.nan, 0.1], dtype=np.float32), 8000, format="WAV", subtype="FLOAT")
    assert "samples that are no numbers" in unreadable(stream.getvalue())


def test_a_damaged_flac_is_refused() -> None:
    stream = io.BytesIO()
    soundfile.write(stream, noise(1.0), 8000, format="FLAC")
    whole = stream.getvalue()
    assert unreadable(whole) == ""
    assert unreadable(whole[: len(whole) // 2]) != ""
