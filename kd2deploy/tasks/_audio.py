"""Audio as one channel of float samples: decoded by libsndfile, mixed and resampled.

wav, flac, ogg (vorbis, opus), mp3, aiff and au are read, whatever their ending says.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd2deploy.errors import DataError

Wave = NDArray[np.float32]
MISSING = "audio is read with soundfile and soxr; pip install 'kd2deploy[speech]'"
KINDS = "wav, flac, ogg, mp3, aiff and au are read"
MOST_SAMPLES = 500_000_000
"""Of all channels: two hours and a half at 48 kHz take 2 GB."""


def heard(value: Any, sampling_rate: int) -> Wave:
    """[samples] in -1..1: several channels are averaged, another rate is resampled. Raises DataError."""
    try:
        import soxr
    except ImportError as error:
        raise DataError(MISSING) from error
    wave, rate = decoded(value)
    return wave if rate == sampling_rate else np.asarray(soxr.resample(wave, rate, sampling_rate), dtype=np.float32)


def unreadable(value: Any) -> str:
    """Why audio cannot be read; empty for what can. It is decoded to its end."""
    try:
        decoded(value)
    except DataError as error:
        return str(error)
    return ""


def decoded(value: Any) -> tuple[Wave, int]:
    """The samples of a file, or of its bytes, and their rate. Raises DataError with what is wrong."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package without its library
        raise DataError(MISSING) from error
    if not isinstance(value, str | Path | bytes):
        raise DataError(f"audio is {type(value).__name__}; give a file's path or its bytes")
    title = "the encoded audio" if isinstance(value, bytes) else str(value)
    if not isinstance(value, bytes) and not Path(value).is_file():
        raise DataError(f"{title} is no file that can be read")
    try:
        with soundfile.SoundFile(io.BytesIO(value) if isinstance(value, bytes) else str(value)) as sound:
            rate, promised = int(sound.samplerate), int(sound.frames)
            if promised * sound.channels > MOST_SAMPLES:
                raise DataError(f"{title} says that it holds {promised:,} samples, more than are read of one file")
            channels = sound.read(dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise DataError(f"{title} is no audio that can be read ({first_words(error)}); {KINDS}") from error
    if not len(channels):
        raise DataError(f"{title} holds no samples")
    if len(channels) < promised:
        raise DataError(f"{title} is cut off: it holds {len(channels):,} of {promised:,} samples")
    wave = np.asarray(channels.mean(axis=1), dtype=np.float32)
    if not np.isfinite(wave).all():
        raise DataError(f"{title} holds samples that are no numbers")
    return wave, rate


def first_words(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
