"""Detectors as deployed files: at a batch that was not traced, in every runtime, and read by the card's own code."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_detectors import FAMILIES, made_rows, save_detector, small_task

from kd2deploy.core import Target, made
from kd2deploy.exporters.onnx import onnx_from_torch
from kd2deploy.exporters.onnx.checking import run_all
from kd2deploy.exporters.openvino import openvino_from_onnx

FEW = ("yolos", "rt_detr")
"""The others take as long, and longer: `pytest -m slow` exports them."""
CASES = [pytest.param(name, marks=[] if name in FEW else [pytest.mark.slow]) for name in FAMILIES]


@pytest.mark.parametrize("family", CASES)
def test_a_file_keeps_the_answers_at_a_batch_that_was_not_traced(family: str, target: Target, tmp_path: Path) -> None:
    folder = save_detector(tmp_path / "net", family)
    task = small_task().at(folder)
    features = task.reader.encode(made_rows(5), folder)
    feeds = [task.reader.feed(features[:1]), task.reader.feed(features)]
    (tmp_path / "onnx").mkdir()
    source = made(folder, "kd2deploy.exporters.torch.TorchSession")
    artifact = onnx_from_torch(source, task, target, tmp_path / "onnx", feeds)
    by_tracing = family in ("rt_detr_v2", "d_fine")  # the other exporter knows no function for one of their operations
    assert artifact.details["route"] == ("torchscript" if by_tracing else "dynamo"), artifact.details
    one, five = run_all(artifact.path, task, target, feeds)
    assert [five[port.name].shape[1:] for port in task.outputs] == [port.axes[1:] for port in task.outputs]
    for name in one:
        np.testing.assert_allclose(one[name][0], five[name][0], atol=1e-3)
    if family == "yolos":
        pytest.importorskip("openvino")
        (tmp_path / "openvino").mkdir()
        other = openvino_from_onnx(artifact, task, target, tmp_path / "openvino", feeds)  # which holds the two together
        assert other.parent == artifact.sha256


def test_queries_in_another_order_are_the_same_answers(tmp_path: Path) -> None:
    folder = save_detector(tmp_path / "net", "rt_detr")
    task = small_task().at(folder)
    feed = task.reader.feed(task.reader.encode(made_rows(4), folder))
    import torch

    with torch.no_grad():
        found = task.networks.deployed(task.networks.load(folder))(torch.from_numpy(feed["pixel_values"]))
    outputs: dict[str, Any] = {port.name: one.numpy() for port, one in zip(task.outputs, found, strict=True)}
    order = np.random.default_rng(0).permutation(task.queries)  # ties make a file rank its queries otherwise
    shuffled = {name: one[:, order] for name, one in outputs.items()}
    assert task.metric.alike(outputs, shuffled)["top1"] == pytest.approx(1)
    again = task.aligned(outputs, shuffled)
    assert all(np.array_equal(again[name], one) for name, one in outputs.items())
    fixed = small_task(queries=task.queries)  # queries that are the network's own have their order
    assert fixed.aligned(outputs, shuffled) is shuffled
