"""Plain Python that reads audio for a deployed file without this package."""

import inspect

from kd2deploy.networks import mel
from kd2deploy.networks.hearing import LEAST_VARIANCE, Hearing

PREPARED = """\
import json
import pathlib

import numpy
import soundfile
import soxr
{spectrum}

def prepared(path):
    channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
    wave = channels.mean(axis=1)
    if rate != {rate}:
        wave = soxr.resample(wave, rate, {rate})
    {features}
    return {{"{name}": found[None], "attention_mask": numpy.ones((1, len(found)), dtype="int64")}}

"""
NORMALISED = 'found = ((wave - wave.mean()) / numpy.sqrt(wave.var() + {least})).astype("float32")'
PLAIN = 'found = wave.astype("float32")'


def audio_code(by: Hearing) -> str:
    """Code that defines `prepared(path) -> {input: array}`, a batch of one row as a network hears it."""
    if by.mel is not None:
        source = inspect.getsource(mel)
        return PREPARED.format(
            spectrum=f"\n# how the spectrogram is taken\n{source}\n",
            rate=by.sampling_rate,
            features=f"found = log_mel(wave, {by.mel!r})",
            name="input_features",
        )
    features = NORMALISED.format(least=LEAST_VARIANCE) if by.normalises else PLAIN
    return PREPARED.format(spectrum="", rate=by.sampling_rate, features=features, name="input_values")
