"""Clients of a bundle that reads pictures: transformers' pipeline and the card's own lines answer as judged."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import save_image_net

from kd2deploy.core import Target, made
from kd2deploy.core.serving import code_that_opens
from kd2deploy.exporters.bundle import Contents, write_bundle
from kd2deploy.exporters.onnx import onnx_from_torch
from kd2deploy.stages.bundle import lines, requirements
from kd2deploy.tasks.image_classification import ImageClassification
from tests.clients.served import Answers
from tests.clients.test_python import environment

pytestmark = pytest.mark.clients
LABELS = ["zero", "one", "two"]
NEAR = 1e-4
ASK = """
import json, pathlib
print(json.dumps([answer(str(file)) for file in sorted(pathlib.Path(PLACE).glob("*.png"))]))
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Sixty pictures of several sizes, grey, coloured, and with an orientation tag."""
    place, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(60):
        height, width = rng.integers(8, 40, 2)
        tint, spread = rng.integers(0, 128, 3), rng.integers(8, 127)
        picture = Image.fromarray(rng.integers(tint, tint + spread, (height, width, 3), dtype=np.uint8))
        tag = Image.Exif()
        tag[0x0112] = 6 if number % 3 == 0 else 1
        (picture.convert("L") if number % 4 == 0 else picture).save(place / f"{number:03d}.png", exif=tag)
    return sorted(place.glob("*.png"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bundle")
    student = save_image_net(place / "student", "resnet", channels=3)
    task = ImageClassification(LABELS).at(student)
    target = Target("here", "one thread", "cpu", {}, threads=1)
    samples = [{"pixel_values": task.networks.example(task.networks.load(student), 1)["pixel_values"].numpy()}]
    (place / "fp32").mkdir()
    file = onnx_from_torch(
        made(student, "kd2deploy.exporters.torch.TorchSession"), task, target, place / "fp32", samples
    )
    code = task.snippet(code_that_opens(file, task.networks.auto), student)
    return write_bundle(
        place / "served",
        student=student,
        task=task,
        target=target,
        contents=Contents(
            deployed=file,
            files={"serve.py": code, "requirements.txt": lines(requirements(code))},
            artifacts={"fp32": file},
        ),
    )


@pytest.fixture(scope="module")
def judged(bundle: Path, pictures: list[Path]) -> Answers:
    from kd2deploy.flows.predict import predict_alone

    return list(predict_alone(bundle, map(str, pictures), None))


def test_the_image_pipeline_answers_as_judged(bundle: Path, pictures: list[Path], judged: Answers) -> None:
    from transformers import pipeline

    ask = pipeline("image-classification", model=str(bundle))
    for file, right in zip(pictures, judged, strict=True):
        first = ask(str(file))[0]
        assert first["label"] == right["label"], file
        assert first["score"] == pytest.approx(right["probability"], abs=NEAR), file


def test_the_cards_lines_answer_as_judged(bundle: Path, pictures: list[Path], judged: Answers, tmp_path: Path) -> None:
    python = environment(tmp_path / "fresh", "--requirement", str(bundle / "requirements.txt"))
    code = (bundle / "serve.py").read_text().split("\n\n\nprint(")[0] + ASK.replace(
        "PLACE", repr(str(pictures[0].parent))
    )
    done = subprocess.run([python, "-c", code], cwd=bundle, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [one["label"] for one in judged]
    assert len({one["label"] for one in judged}) > 1
