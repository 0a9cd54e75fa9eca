"""Latencies that never happened: four kinds of noise in ABBA order, with the truth known."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Doubles = NDArray[np.float64]
Shape = tuple[int, int, int, int]
"""Runs, processes, rounds per process, samples per block."""
Noise = Callable[[Shape, np.random.Generator], tuple[Doubles, Doubles]]
"""Two contenders' relative latencies, each [runs, processes, rounds, 2 blocks, samples], with a median of 1."""

SIGMA = 0.05
BETWEEN_PROCESSES = 0.005


def independent(shape: Shape, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """Log-normal, 5 %, and every process 0.5 % off for its own reasons (where its memory lies)."""
    return _lognormal(shape, rng) * _process_effect(shape, rng), _lognormal(shape, rng) * _process_effect(shape, rng)


def autocorrelated(shape: Shape, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """A first-order process of coefficient 0.7 that runs on through each contender's blocks."""
    return _autoregressive(shape, rng), _autoregressive(shape, rng)


def bimodal(shape: Shape, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """One run in four takes 30 % longer."""
    return _two_peaks(shape, rng), _two_peaks(shape, rng)


def drifting(shape: Shape, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """Clocks fall by 20 % and wander besides; both contenders feel it, at the times at which they run."""
    runs, processes, rounds, _samples = shape
    steps = 0.01 * rng.standard_normal((runs, processes, rounds * 4))
    drift = np.cumsum(steps, axis=-1) + np.linspace(0.0, 0.2, rounds * 4)
    by_block = np.exp(drift).reshape(runs, processes, rounds, 4, 1)
    return _lognormal(shape, rng) * by_block[..., [0, 3], :], _lognormal(shape, rng) * by_block[..., [1, 2], :]


def _lognormal(shape: Shape, rng: np.random.Generator) -> Doubles:
    runs, processes, rounds, samples = shape
    return np.exp(SIGMA * rng.standard_normal((runs, processes, rounds, 2, samples)))


def _process_effect(shape: Shape, rng: np.random.Generator) -> Doubles:
    runs, processes, *_ = shape
    return np.exp(BETWEEN_PROCESSES * rng.standard_normal((runs, processes, 1, 1, 1)))


def _autoregressive(shape: Shape, rng: np.random.Generator, coefficient: float = 0.7) -> Doubles:
    runs, processes, rounds, samples = shape
    shocks = rng.standard_normal((runs, processes, rounds * 2 * samples)) * np.sqrt(1 - coefficient**2)
    shocks[..., 0] /= np.sqrt(1 - coefficient**2)
    series = lfilter([1.0], [1.0, -coefficient], shocks, axis=-1)
    return np.exp(SIGMA * series).reshape(runs, processes, rounds, 2, samples)


def _two_peaks(shape: Shape, rng: np.random.Generator) -> Doubles:
    runs, processes, rounds, samples = shape
    slow = rng.random((runs, processes, rounds, 2, samples)) < 0.25
    return np.exp(0.03 * rng.standard_normal(slow.shape)) * np.where(slow, 1.3, 1.0)


KINDS: dict[str, Noise] = {
    "independent": independent,
    "autocorrelated": autocorrelated,
    "bimodal": bimodal,
    "drifting": drifting,
}
