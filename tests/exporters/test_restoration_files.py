"""Networks that restore pictures as deployed files, at sizes that were not traced, and as plain PyTorch opens them."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_restoration import made_rows, restorer, saved, small_task, swin

from kd2deploy.core import Artifact, Feed, Target, Task, made
from kd2deploy.core.serving import code_that_opens
from kd2deploy.exporters.onnx import onnx_from_torch
from kd2deploy.exporters.onnx.checking import run_all
from kd2deploy.exporters.openvino import openvino_from_onnx

Made = tuple[Task, Artifact, Artifact, list[Feed]]


@pytest.fixture(scope="module", params=[restorer, partial(swin, depths=(2,))], ids=["ours", "swin2sr"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, target: Target) -> Made:
    folder = tmp_path_factory.mktemp("restorer")
    saved(request.param(), folder / "student")
    task = small_task()
    rows = [*made_rows(1, 40, 48), *made_rows(1, 54, 34)]  # 27 x 17 is no multiple of a window
    feeds = [task.reader.feed([one]) for one in task.reader.encode(rows, folder)]
    source = made(folder / "student", "kd2deploy.exporters.torch.TorchSession")
    (folder / "onnx").mkdir()
    return task, source, onnx_from_torch(source, task, target, folder / "onnx", feeds), feeds


def test_the_onnx_file_and_plain_pytorch_answer_alike_at_every_size(exported: Made, target: Target) -> None:
    task, source, artifact, feeds = exported
    names: dict[str, Any] = {}
    exec(code_that_opens(source, task.networks.auto, str(source.path)), names)
    for feed, found in zip(feeds, run_all(artifact.path, task, target, feeds), strict=True):
        height, width = feed["pixel_values"].shape[-2:]
        assert found["reconstruction"].shape == (1, 3, 2 * height, 2 * width)
        np.testing.assert_allclose(names["run"](feed)["reconstruction"], found["reconstruction"], atol=1e-4)


def test_it_runs_in_openvino(exported: Made, target: Target, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    task, _, artifact, feeds = exported
    made_so = openvino_from_onnx(artifact, task, target, tmp_path, feeds)  # which holds the two together
    assert made_so.parent == artifact.sha256
