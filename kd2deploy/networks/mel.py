"""The log-mel spectrogram that Parakeet's networks read, in numpy: who runs a deployed file need not wait for torch.

As transformers' ParakeetFeatureExtractor computes it, which follows NVIDIA NeMo's; a test holds it to that. It stands
by itself: a bundle's card shows this file.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
LEAST_POWER = 2.0**-24
LEAST_DEVIATION = 1e-5


@dataclass(frozen=True)
class Mel:
    """How a spectrogram is taken; lengths in samples."""

    bins: int = 80
    sampling_rate: int = 16_000
    hop: int = 160
    window: int = 400
    fft: int = 512
    preemphasis: float = 0.97


def log_mel(wave: Floats, mel: Mel) -> Floats:
    """[samples] -> [samples // hop, bins]: each bin's logarithm with mean 0 and deviation 1 over the row."""
    sharpened = wave.copy()
    sharpened[1:] -= np.float32(mel.preemphasis) * wave[:-1]
    padded = np.pad(sharpened, mel.fft // 2)
    count = len(wave) // mel.hop
    starts = np.arange(count)[:, None] * mel.hop
    window = np.pad(np.hanning(mel.window), ((mel.fft - mel.window) // 2, (mel.fft - mel.window + 1) // 2))
    spectra = np.fft.rfft(padded[starts + np.arange(mel.fft)] * window, axis=-1)
    found = np.log((np.abs(spectra) ** 2).astype(np.float32) @ filters(mel).T + np.float32(LEAST_POWER))
    deviation = found.std(0, ddof=1, keepdims=True)
    return np.asarray((found - found.mean(0, keepdims=True)) / (deviation + LEAST_DEVIATION), dtype=np.float32)


def filters(mel: Mel) -> Floats:
    """[bins, fft // 2 + 1]: triangles that are equally wide on Slaney's mel scale, each with an area of one."""
    edges = hertz(np.linspace(0.0, mels(mel.sampling_rate / 2), mel.bins + 2))
    points = np.linspace(0, mel.sampling_rate // 2, mel.fft // 2 + 1)
    rising = (points - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - points) / (edges[2:] - edges[1:-1])[:, None]
    area = 2.0 / (edges[2:] - edges[:-2])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)) * area[:, None], dtype=np.float32)


def mels(frequency: float) -> float:
    """Slaney's scale: linear below 1,000 Hz, logarithmic above."""
    return 3 * frequency / 200 if frequency < 1000 else 15 + 27 * float(np.log(frequency / 1000) / np.log(6.4))


def hertz(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """The frequencies of values on that scale."""
    return np.where(scale < 15, 200 * scale / 3, 1000 * np.exp(np.log(6.4) * (scale - 15) / 27))
