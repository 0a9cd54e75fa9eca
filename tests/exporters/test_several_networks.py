"""Several networks as one file: ONNX, and the code by which anybody opens them in PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from several import answers, save_pair

from kd2deploy.core import Target, made
from kd2deploy.core.serving import code_that_opens
from kd2deploy.exporters.onnx import onnx_from_torch
from kd2deploy.exporters.onnx.checking import run_all

OPENED_BY = "kd2deploy.exporters.torch.TorchSession"
COMBINED = {"texts": "mean_probability", "labels": "mean_probability", "pictures": "sum"}
"""By kind; pairs and numbers go the way of texts."""


@pytest.mark.parametrize("kind", COMBINED)
def test_one_onnx_file_and_plain_pytorch_answer_what_the_members_do_together(
    tmp_path: Path, target: Target, kind: str
) -> None:
    task = save_pair(tmp_path / "pair", kind, COMBINED[kind], [2, 1])
    source = made(tmp_path / "pair", OPENED_BY)
    shown, whole, _ = answers(task, source.path)
    feed = {port.name: shown[port.name].numpy() for port in task.inputs}
    (tmp_path / "out").mkdir()
    artifact = onnx_from_torch(source, task, target, tmp_path / "out", [feed])
    assert [file.name for file in artifact.path.parent.iterdir()] == ["model.onnx"]
    assert artifact.details["route"] == "dynamo"
    (found,) = run_all(artifact.path, task, target, [feed])
    np.testing.assert_allclose(found["logits"], whole.numpy(), rtol=1e-4, atol=1e-5)
    names: dict[str, Any] = {}
    exec(code_that_opens(source, task.networks.auto, str(source.path)), names)
    by_hand, wanted = names["run"](feed)["logits"], whole.numpy()
    if COMBINED[kind] == "mean_probability":
        by_hand, wanted = (odds(one, sigmoid=kind == "labels") for one in (by_hand, wanted))
    np.testing.assert_allclose(by_hand, wanted, rtol=1e-4, atol=1e-5)


def odds(logits: "np.ndarray[Any, Any]", *, sigmoid: bool) -> "np.ndarray[Any, Any]":
    """The probabilities that logits stand for: those of an average are found in two ways that round differently."""
    shifted = np.exp(logits - (0 if sigmoid else logits.max(-1, keepdims=True)))
    return np.asarray(shifted / (1 + shifted if sigmoid else shifted.sum(-1, keepdims=True)))
