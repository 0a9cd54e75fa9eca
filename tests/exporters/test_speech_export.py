"""Speech networks as ONNX, at numbers of samples that were not traced."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_speech import FAMILIES, noise, save_speech, speech_task

from kd2deploy.core import Target, made, open_session
from kd2deploy.exporters.onnx import onnx_from_torch
from kd2deploy.networks.hearing import hearing

TARGET = Target(name="here", about="", device="cpu", variants={}, threads=1)


USUAL = "parakeet_ctc"
"""The family whose export is in the normal run (tests/recipes has one of Wav2Vec2): each takes half a minute."""


@pytest.mark.parametrize(
    "family", [pytest.param(one, marks=[] if one == USUAL else pytest.mark.slow) for one in sorted(FAMILIES)]
)
def test_every_length_is_answered_as_by_the_network(family: str, tmp_path: Path) -> None:
    folder = save_speech(tmp_path / "net", family)
    task = speech_task().at(folder)
    source = made(folder, "kd2deploy.exporters.torch.TorchSession")
    lengths = (0.2, 0.31, 0.5)
    feeds = [
        task.reader.feed([{task.reader.heard_as: hearing(folder).features(noise(one, seed))} for one in (length, 0.3)])
        for seed, length in enumerate(lengths)
    ]
    (tmp_path / "onnx").mkdir()
    artifact = onnx_from_torch(source, task, TARGET, tmp_path / "onnx", feeds)
    options: dict[str, Any] = {}
    with (
        open_session(artifact, task.ports, TARGET, options) as deployed,
        open_session(replace(source), task.ports, TARGET, options) as eager,
    ):
        for feed in feeds:
            mine, theirs = deployed.run(feed)["logits"], eager.run(feed)["logits"]
            assert mine.shape == theirs.shape
            np.testing.assert_allclose(mine, theirs, atol=1e-4, rtol=1e-3)
