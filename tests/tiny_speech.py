"""Tiny random CTC networks, saved as a user's folders are, and waves to show them."""

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.tasks.speech_ctc import SpeechCtc
from kd2deploy.train.checkpoint import create

RATE = 8000
ALPHABET = "abcd"
WAVES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "conv_dim": [8, 8],
    "conv_kernel": [10, 8],
    "conv_stride": [5, 8],
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_prob": 0.0,
}
"""40 samples a frame: 5 ms at 8 kHz."""
SPECTRA: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "conv_kernel_size": 3,
    "subsampling_factor": 4,
    "subsampling_conv_channels": 8,
    "num_mel_bins": 16,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "wav2vec2": WAVES | {"do_stable_layer_norm": True},
    "hubert": WAVES,
    "wavlm": WAVES | {"num_buckets": 8, "max_bucket_distance": 16},
    "wav2vec2-conformer": WAVES | {"conv_depthwise_kernel_size": 3},
    "parakeet_ctc": {"encoder_config": SPECTRA},
}


def speech_task(**arguments: Any) -> SpeechCtc:
    return SpeechCtc(**{"alphabet": ALPHABET, "sampling_rate": RATE, "max_seconds": 4.0, **arguments})


def save_speech(folder: Path, family: str = "wav2vec2", seed: int = 0, **changes: Any) -> Path:
    """A random network of the family with a vocabulary of four letters, 8 kHz."""
    sizes = FAMILIES[family]
    if "encoder_config" in sizes:
        changes = {"encoder_config": {**sizes["encoder_config"], **changes}}
    return create({"model_type": family, **sizes, **changes}, folder, speech_task(), seed)


def noise(seconds: float, seed: int = 0, rate: int = RATE) -> "np.ndarray[Any, np.dtype[np.float32]]":
    return (0.3 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def wav(samples: "np.ndarray[Any, np.dtype[np.float32]]", rate: int = RATE) -> bytes:
    """A wav file of [samples], or [samples, channels], in -1..1."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return stream.getvalue()


TONES = {"a": 500.0, "b": 1000.0, "c": 1800.0, "d": 3000.0}


def spelt(text: str, seed: int = 0, rate: int = RATE) -> bytes:
    """A wav file in which every letter is a tone of 60 ms and every space a silence: what a tiny network can learn."""
    drawn = np.random.default_rng(seed)
    clock = np.arange(round(0.06 * rate)) / rate
    parts = [np.zeros(round(0.02 * rate))]
    for letter in text:
        tone = 0.5 * np.sin(2 * np.pi * TONES[letter] * clock) if letter in TONES else np.zeros(len(clock))
        parts += [tone, np.zeros(round(0.02 * rate))]
    whole = np.concatenate(parts)
    return wav((whole + 0.01 * drawn.standard_normal(len(whole))).astype(np.float32), rate)


def texts(count: int, seed: int = 0) -> list[str]:
    """One to three words of one to three letters each."""
    drawn = np.random.default_rng(seed)

    def word() -> str:
        return "".join(drawn.choice(list(ALPHABET), drawn.integers(1, 4)))

    return [" ".join(word() for _ in range(drawn.integers(1, 4))) for _ in range(count)]


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    return [
        {"audio": spelt(text, seed + place), "label": text, "index": place}
        for place, text in enumerate(texts(count, seed))
    ]
