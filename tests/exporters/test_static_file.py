"""Static embeddings as deployed files, and the code by which anybody opens them in PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import save_encoder

from kd2deploy.core import Artifact, Feed, Target, Task, made
from kd2deploy.core.serving import code_that_opens
from kd2deploy.errors import ConvertError
from kd2deploy.exporters.onnx import fused_from_onnx, onnx_from_torch
from kd2deploy.exporters.onnx.checking import run_all
from kd2deploy.exporters.openvino import openvino_from_onnx
from kd2deploy.exporters.quantize import Int8, int8_from_onnx
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.static import static

LABELS = ["neg", "pos"]
TEXTS = ("a good film", "the plot was very dull, not fun", "fine")
Made = tuple[Task, Artifact, Artifact, Feed]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, target: Target) -> Made:
    folder = tmp_path_factory.mktemp("static")
    teacher = save_encoder(folder / "teacher", labels=LABELS)
    static(teacher, folder / "student", TextClassification(LABELS), dim=8, taught=True, seed=0)
    task = TextClassification(LABELS).at(folder / "student")
    rows = [{"text": text, "label": None} for text in TEXTS]
    feed = task.reader.feed(task.reader.encode(rows, folder / "student"))
    source = made(folder / "student", "kd2deploy.exporters.torch.TorchSession")
    (folder / "onnx").mkdir()
    return task, source, onnx_from_torch(source, task, target, folder / "onnx", [feed]), feed


def test_the_onnx_file_and_plain_pytorch_answer_alike(exported: Made, target: Target) -> None:
    task, source, artifact, feed = exported
    net = task.networks.load(source.path)
    batch = task.reader.collate(task.reader.encode([{"text": text, "label": None} for text in TEXTS], source.path))
    wanted = task.networks.observe(net, batch).logits.detach().numpy()
    (found,) = run_all(artifact.path, task, target, [feed])
    np.testing.assert_allclose(found["logits"], wanted, rtol=1e-4, atol=1e-5)
    names: dict[str, Any] = {}
    exec(code_that_opens(source, task.networks.auto, str(source.path)), names)
    np.testing.assert_allclose(names["run"](feed)["logits"], wanted, rtol=1e-4, atol=1e-5)


def test_it_runs_in_openvino(exported: Made, target: Target, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    task, _, artifact, feed = exported
    made_so = openvino_from_onnx(artifact, task, target, tmp_path, [feed])  # which holds the two together
    assert made_so.parent == artifact.sha256


def test_calibrated_it_is_rounded_and_what_it_has_nothing_for_is_refused(
    exported: Made, target: Target, tmp_path: Path
) -> None:
    task, _, artifact, feed = exported
    for name in ("static", "dynamic", "fused"):
        (tmp_path / name).mkdir()
    made_so = int8_from_onnx(artifact, task, target, tmp_path / "static", [feed], options=Int8(mode="static"))
    assert made_so.precision == "int8"
    with pytest.raises(ConvertError, match="no operation is left to quantize"):
        int8_from_onnx(artifact, task, target, tmp_path / "dynamic", [feed])
    with pytest.raises(ConvertError):
        fused_from_onnx(artifact, task, target, tmp_path / "fused", [feed])
