"""How a network hears: sampling rate and features, as its folder's feature extractor says."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd2deploy.core.reading import object_of
from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.frames import SPECTRA, mel_bins
from kd2deploy.networks.inputs import inputs_of
from kd2deploy.networks.mel import Mel, log_mel

FILE, PROCESSOR = "preprocessor_config.json", "processor_config.json"
WAVE, SPECTRUM = "Wav2Vec2FeatureExtractor", "ParakeetFeatureExtractor"
LEAST_VARIANCE = 1e-7
"""Added to a wave's variance before the root is taken, as transformers does: silence stays finite."""
RATES = range(1_000, 192_001)
LARGEST = 1_000_000
"""Of what else is counted in samples or bins."""


@dataclass(frozen=True)
class Hearing:
    """What is made of a wave, in -1..1 at `sampling_rate`, for a network."""

    sampling_rate: int = 16_000
    normalises: bool = True
    """Whether a wave gets mean 0 and variance 1; asked where there is no spectrogram."""
    mel: Mel | None = None
    """The spectrogram that the network reads; None where it reads the samples themselves."""

    @property
    def per_second(self) -> float:
        """Samples, or spectra, a second: what the network's front end reads."""
        return self.sampling_rate / (self.mel.hop if self.mel else 1)

    @property
    def heard_as(self) -> str:
        """The network's argument for what it hears."""
        return "input_features" if self.mel else "input_values"

    def features(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """[samples] as the network reads it: [samples], or [spectra, bins]."""
        if self.mel is not None:
            return log_mel(wave, self.mel)
        if not self.normalises:
            return wave
        return np.asarray((wave - wave.mean()) / np.sqrt(wave.var() + LEAST_VARIANCE), dtype=np.float32)


@functools.lru_cache(maxsize=8)
def hearing(folder: Path) -> Hearing:
    """What the feature extractor in `folder` does; where there is none, what its model type's does by default.

    Raises ModelError for an extractor, a value or a field that nothing here does.
    """
    place = inputs_of(folder)
    said = said_in(place)
    config = read_config(folder)
    spectral = config["model_type"] in SPECTRA
    kind = str(said.get("feature_extractor_type") or (SPECTRUM if spectral else WAVE))
    if kind != (SPECTRUM if spectral else WAVE):
        raise ModelError(
            f"{place / FILE} names {kind}, and a {config['model_type']} is heard by {SPECTRUM if spectral else WAVE}; "
            "save the network's own feature extractor beside it"
        )
    if said.get("padding_value", 0.0) != 0.0 or said.get("padding_side", "right") != "right":
        raise ModelError(f"{place / FILE} pads otherwise than with silence on the right, which is not supported")
    rate = whole(said.get("sampling_rate", 16_000), "sampling_rate", place)
    if rate not in RATES:
        raise ModelError(f"{place / FILE} sets sampling_rate to {rate}; 1,000 to 192,000 Hz are understood")
    if not spectral:
        if said.get("feature_size", 1) != 1:
            raise ModelError(f"{place / FILE} sets feature_size to {said['feature_size']!r}; waves have 1")
        return Hearing(rate, bool(said.get("do_normalize", True)))
    return Hearing(rate, mel=mel_of(said, config, rate, place))


def mel_of(said: Mapping[str, Any], config: Mapping[str, Any], rate: int, place: Path) -> Mel:
    """The spectrogram of an extractor's file. Raises ModelError where it does not fit the network beside it."""
    wanted = mel_bins(config)
    found = Mel(
        bins=whole(said.get("feature_size", wanted), "feature_size", place),
        sampling_rate=rate,
        hop=whole(said.get("hop_length", 160), "hop_length", place),
        window=whole(said.get("win_length", 400), "win_length", place),
        fft=whole(said.get("n_fft", 512), "n_fft", place),
        preemphasis=share(said.get("preemphasis"), "preemphasis", place),
    )
    if found.bins != wanted:
        raise ModelError(f"{place / FILE} makes {found.bins} mel bins, and the network reads {wanted}; save its own")
    if found.window > found.fft:
        raise ModelError(f"{place / FILE} has a window of {found.window} samples, longer than its n_fft {found.fft}")
    return found


def said_in(place: Path) -> dict[str, Any]:
    """The fields of a feature extractor's file, or of a processor's that holds one; empty where there is neither."""
    if (place / FILE).is_file():
        return object_of(place / FILE, ModelError, "save the feature extractor anew")
    if (place / PROCESSOR).is_file():
        found = object_of(place / PROCESSOR, ModelError, "save the processor anew").get("feature_extractor")
        return found if isinstance(found, dict) else {}
    return {}


def whole(value: Any, name: str, place: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST:
        raise ModelError(f"{place / FILE} sets {name} to {value!r:.60}; a whole number above 0 is understood")
    return value


def share(value: Any, name: str, place: Path) -> float:
    if value is None:
        return 0.0
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ModelError(f"{place / FILE} sets {name} to {value!r:.60}; a number from 0 to 1 is understood")
    return float(value)


def save_hearing(folder: Path, sampling_rate: int) -> None:
    """Writes the feature extractor of a network that has none: its model type's, at this rate."""
    config = read_config(folder)
    described: dict[str, Any] = {"padding_side": "right", "padding_value": 0.0, "sampling_rate": sampling_rate}
    if config["model_type"] in SPECTRA:
        mel = spectrogram_at(sampling_rate)
        described |= {
            "feature_extractor_type": SPECTRUM,
            "feature_size": mel_bins(config),
            "hop_length": mel.hop,
            "win_length": mel.window,
            "n_fft": mel.fft,
            "preemphasis": mel.preemphasis,
        }
    else:
        described |= {
            "feature_extractor_type": WAVE,
            "feature_size": 1,
            "do_normalize": True,
            "return_attention_mask": config.get("feat_extract_norm") != "group",
        }
    (folder / FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def spectrogram_at(sampling_rate: int) -> Mel:
    """Spectra of 25 ms, one every 10 ms, as the networks that are published have them at 16 kHz."""
    window = max(2, sampling_rate // 40)
    return Mel(sampling_rate=sampling_rate, hop=sampling_rate // 100, window=window, fft=2 ** (window - 1).bit_length())


def has_hearing(folder: Path) -> bool:
    """Whether the folder says how its network hears."""
    return bool(said_in(inputs_of(folder)))
