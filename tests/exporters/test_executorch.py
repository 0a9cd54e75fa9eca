"""Programs of ExecuTorch, at shapes that were not traced: the same answers, in fp32 and in int8."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from conftest import Case

from kd2deploy.core import Artifact
from kd2deploy.errors import SessionError
from kd2deploy.exporters.executorch import ExecutorchSession, Lowering, executorch_from_torch
from kd2deploy.exporters.torch import TorchSession

pytestmark = [pytest.mark.executorch, pytest.mark.filterwarnings("default")]


def program(case: Case, folder: Path, int8: Literal["none", "dynamic", "static"], **shapes: list[int]) -> Artifact:
    options = Lowering(int8=int8, shapes=shapes or None)
    return executorch_from_torch(case.source, case.task, case.target, folder, case.samples, options=options)


def apart(case: Case, artifact: Artifact) -> float:
    """The largest distance of any output from the network's own."""
    ports = case.task.ports
    with TorchSession(case.source, ports, case.target) as net, ExecutorchSession(artifact, ports, case.target) as made:
        pairs = [(net.run(feed), made.run(feed)) for feed in case.samples]
    return max(float(np.abs(one[name] - other[name]).max()) for one, other in pairs for name in one)


def test_a_text_network_answers_alike_at_every_shape(text: Case, tmp_path: Path) -> None:
    artifact = program(text, tmp_path, "none")
    assert artifact.precision == "fp32"
    assert len({feed["input_ids"].shape for feed in text.samples}) > 1
    assert apart(text, artifact) < 1e-4
    with ExecutorchSession(artifact, text.task.ports, text.target) as session:
        most = {
            name: np.repeat(one[:1], artifact.details["shapes"]["batch_size"][2], axis=0)
            for name, one in text.samples[0].items()
        }
        found = session.run(most)
    assert all(np.allclose(one[0], one[-1]) for one in found.values())


def test_products_in_int8_are_near(text: Case, tmp_path: Path) -> None:
    artifact = program(text, tmp_path, "dynamic")
    assert artifact.precision == "int8"
    assert 0 < apart(text, artifact) < 0.1


def test_a_picture_network_is_calibrated_on_samples(image: Case, tmp_path: Path) -> None:
    (tmp_path / "fp32").mkdir()
    (tmp_path / "int8").mkdir()
    plain, small = program(image, tmp_path / "fp32", "none"), program(image, tmp_path / "int8", "static")
    assert apart(image, plain) < 1e-4
    assert small.path.stat().st_size < 0.6 * plain.path.stat().st_size
    assert 0 < apart(image, small) < 0.5


def test_a_request_beyond_what_was_planned_for_is_refused(text: Case, tmp_path: Path) -> None:
    artifact = program(text, tmp_path, "none")
    (feed,) = text.samples[:1]
    longest = artifact.details["shapes"]["batch_size"][2]
    many = {name: np.repeat(one[:1], longest + 1, axis=0) for name, one in feed.items()}
    with (
        ExecutorchSession(artifact, text.task.ports, text.target) as session,
        pytest.raises(SessionError, match="set shapes of the variant's last step"),
    ):
        session.run(many)
