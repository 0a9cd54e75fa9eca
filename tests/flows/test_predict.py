"""predict: a bundle that PyTorch does not run is answered without it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from other_processes import PATIENCE_S
from PIL import Image
from several import save_pair
from tiny_models import save_encoder, save_image_net

from kd2deploy.core import Target, Task, made
from kd2deploy.exporters.bundle import Contents, write_bundle
from kd2deploy.exporters.onnx import onnx_from_torch
from kd2deploy.flows.predict import predict_alone
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification

HEAVY = ("torch", "transformers", "datasets", "sklearn", "scipy", "pyarrow")
ASK = """
import sys
from kd2deploy.cli import main
sys.argv = ["kd2deploy", "predict", *sys.argv[1:]]
try:
    main()
finally:
    print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


def bundle(folder: Path, student: Path, task: Task) -> Path:
    target = Target("here", "one thread", "cpu", {}, threads=1)
    source = made(student, "kd2deploy.exporters.torch.TorchSession")
    example = task.networks.example(task.networks.load(student), 1)
    samples = [{name: array.numpy() for name, array in example.items()}]
    (folder / "graph").mkdir()
    file = onnx_from_torch(source, task, target, folder / "graph", samples)
    contents = Contents(deployed=file, artifacts={"onnx": file})
    return write_bundle(folder / "bundle", student=student, task=task, target=target, contents=contents)


def asked(folder: Path, given: str) -> tuple[dict[str, object], list[str]]:
    """The command's answer, and what it imported of what takes seconds."""
    code = ASK.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), given], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), json.loads(done.stderr.splitlines()[-1].replace("'", '"'))


@pytest.mark.parametrize("kind", ["text", "several", "picture"])
def test_a_deployed_file_is_answered_without_pytorch_and_transformers(kind: str, tmp_path: Path) -> None:
    if kind == "text":
        student = save_encoder(tmp_path / "student", labels=["neg", "pos"])
        task: Task = TextClassification(["neg", "pos"], max_length=16).at(student)
        given = "a good film"
    elif kind == "several":
        task, student = save_pair(tmp_path / "student"), tmp_path / "student"
        given = "a good film"
    else:
        student = save_image_net(tmp_path / "student", "resnet", channels=3)
        task = ImageClassification(["zero", "one", "two"]).at(student)
        given = str(tmp_path / "picture.png")
        Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(given)
    folder = bundle(tmp_path, student, task)
    answer, heavy = asked(folder, given)
    assert heavy == []
    assert [answer] == list(predict_alone(folder, [given], None))
