"""A tiny random BERT and a tiny ResNet with real samples, exported once for all tests: an export costs seconds."""

from dataclasses import dataclass

import numpy as np
import pytest
from tiny_models import save_encoder, save_image_net

from kd2deploy.core import Artifact, Feed, Target, Task, made
from kd2deploy.exporters.onnx import fused_from_onnx, onnx_from_torch
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification

TEXTS = ["a good film", "the plot was dull", "very slow", "not bad is the film", "fun", "a fine plot is not slow"]
OPENED_BY = "kd2deploy.exporters.torch.TorchSession"


@dataclass(frozen=True)
class Case:
    """A source artifact with its task, target and samples: the first arguments of every converter."""

    source: Artifact
    task: Task
    target: Target
    samples: list[Feed]


@pytest.fixture(scope="session")
def target() -> Target:
    return Target("here", "one thread", "cpu", {}, threads=1)


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory, target: Target) -> Case:
    folder = save_encoder(tmp_path_factory.mktemp("bert"), "bert")
    task = TextClassification(labels=["neg", "pos"], max_length=32).at(folder)
    features = task.reader.encode([{"text": words, "label": None} for words in TEXTS], folder)
    return Case(made(folder, OPENED_BY), task, target, [task.reader.feed([row]) for row in features])


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, target: Target) -> Case:
    folder = save_image_net(tmp_path_factory.mktemp("resnet"), "resnet", size=32)
    task = ImageClassification(labels=["zero", "one", "two"]).at(folder)
    drawn = np.random.default_rng(0)
    rows = [{"image": drawn.integers(0, 256, (32, 32), dtype=np.uint8), "label": None} for _ in range(6)]
    return Case(
        made(folder, OPENED_BY), task, target, [task.reader.feed([row]) for row in task.reader.encode(rows, folder)]
    )


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, text: Case) -> Artifact:
    return onnx_from_torch(text.source, text.task, text.target, tmp_path_factory.mktemp("plain"), text.samples)


@pytest.fixture(scope="session")
def fused(tmp_path_factory: pytest.TempPathFactory, text: Case, plain: Artifact) -> Artifact:
    return fused_from_onnx(plain, text.task, text.target, tmp_path_factory.mktemp("fused"), text.samples)


@pytest.fixture(scope="session")
def plain_image(tmp_path_factory: pytest.TempPathFactory, image: Case) -> Artifact:
    return onnx_from_torch(image.source, image.task, image.target, tmp_path_factory.mktemp("image"), image.samples)
