"""What a network's folder says of audio, held against transformers' own feature extractors and networks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_speech import FAMILIES, RATE, noise, save_speech, speech_task

from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.frames import SPECTRAL, frames, front_end, hears_padding, seconds_per_frame, shortest
from kd2deploy.networks.hearing import FILE, PROCESSOR, Hearing, hearing, spectrogram_at
from kd2deploy.networks.mel import Mel, log_mel

WHISPER = {"feature_extractor_type": "WhisperFeatureExtractor"}


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_speech(tmp_path_factory.mktemp("speech") / request.param, request.param)


def test_frames_are_those_of_the_network_itself(folder: Path) -> None:
    net = speech_task().at(folder).networks.load(folder)
    strides = front_end(read_config(folder))
    heard = torch.tensor([shortest(strides), 400, 401, 777, 4000])
    name = "_get_subsampling_output_length" if "parakeet" in folder.name else "_get_feat_extract_output_lengths"
    assert frames(heard, strides).tolist() == getattr(net, name)(heard).tolist()
    assert frames(shortest(strides), strides) == 1


def test_the_defaults_of_a_spectral_body_are_transformers_own() -> None:
    from transformers import ParakeetEncoderConfig

    own = ParakeetEncoderConfig().to_dict()
    assert {name: own[name] for name in SPECTRAL} == SPECTRAL


@pytest.mark.parametrize(("rate", "bins"), [(8000, 16), (16_000, 80)])
def test_a_spectrogram_is_the_feature_extractors(rate: int, bins: int) -> None:
    from transformers import ParakeetFeatureExtractor

    samples = noise(0.7, rate=rate) * np.linspace(0.1, 1, round(0.7 * rate), dtype=np.float32)
    found = log_mel(samples, Mel(bins=bins, sampling_rate=rate))
    theirs = ParakeetFeatureExtractor(feature_size=bins, sampling_rate=rate)(samples, sampling_rate=rate)
    counted = int(theirs["attention_mask"].sum())
    assert found.shape == (counted, bins)
    np.testing.assert_allclose(found, np.asarray(theirs["input_features"])[0, :counted], atol=2e-3)


@pytest.mark.parametrize(
    ("rate", "sizes"), [(16_000, (160, 400, 512)), (8000, (80, 200, 256)), (44_100, (441, 1102, 2048))]
)
def test_a_new_networks_spectra_last_as_long_at_every_rate(rate: int, sizes: tuple[int, int, int]) -> None:
    found = spectrogram_at(rate)
    assert (found.hop, found.window, found.fft) == sizes


def test_a_wave_is_normalised_as_the_feature_extractor_does() -> None:
    from transformers import Wav2Vec2FeatureExtractor

    samples = 3 * noise(0.2) + 0.1
    theirs = Wav2Vec2FeatureExtractor(sampling_rate=RATE)(samples, sampling_rate=RATE)["input_values"][0]
    np.testing.assert_allclose(Hearing(RATE).features(samples), theirs, atol=1e-5)
    assert np.isfinite(Hearing(RATE).features(np.zeros(400, dtype=np.float32))).all(), "silence"
    assert Hearing(RATE, normalises=False).features(samples) is samples


def test_a_processor_that_holds_the_extractor_is_read(tmp_path: Path) -> None:
    folder = save_speech(tmp_path / "net")
    said = json.loads((folder / FILE).read_text())
    (folder / FILE).unlink()
    (folder / PROCESSOR).write_text(json.dumps({"feature_extractor": {**said, "do_normalize": False}}))
    assert hearing.__wrapped__(folder) == Hearing(RATE, normalises=False)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (WHISPER, "names WhisperFeatureExtractor, and a wav2vec2 is heard by Wav2Vec2FeatureExtractor"),
        ({"padding_value": 1.0}, "pads otherwise than with silence"),
        ({"sampling_rate": "fast"}, "sets sampling_rate to 'fast'"),
        ({"sampling_rate": 12}, "1,000 to 192,000 Hz"),
        ({"feature_size": 80}, "sets feature_size to 80"),
    ],
)
def test_what_nothing_here_does_is_refused_by_name(said: dict[str, object], words: str, tmp_path: Path) -> None:
    folder = save_speech(tmp_path / "net")
    (folder / FILE).write_text(json.dumps(said))
    with pytest.raises(ModelError, match=words):
        hearing.__wrapped__(folder)


def test_networks_that_are_not_supported_are_refused_by_name() -> None:
    with pytest.raises(ModelError, match="a bert is none of the speech networks"):
        front_end({"model_type": "bert"})
    with pytest.raises(ModelError, match="add_adapter"):
        front_end({"model_type": "wav2vec2", "add_adapter": True})


def test_padding_is_heard_where_the_first_norm_is_over_all_samples() -> None:
    assert hears_padding({"feat_extract_norm": "group"})
    assert not hears_padding({"feat_extract_norm": "layer"})
    assert not hears_padding({})


def test_time_between_frames() -> None:
    assert seconds_per_frame(front_end({"model_type": "parakeet_ctc", "encoder_config": {}}), 100) == pytest.approx(
        0.08
    )
