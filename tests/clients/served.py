"""A small student that was really trained, its bundle, and what was judged: the answers of the bundle's own files."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recipes.small_run import write_rows
from tiny_models import save_encoder

from kd2deploy.core import Artifact, Target, made, open_session
from kd2deploy.core.serving import code_that_opens
from kd2deploy.exporters.bundle import Contents, write_bundle
from kd2deploy.exporters.onnx import onnx_from_torch
from kd2deploy.exporters.quantize import int8_from_onnx
from kd2deploy.stages.bundle import lines, requirements
from kd2deploy.tasks.text_classification import TextClassification

LENGTH = 12
"""Tokens that are judged: shorter than a fifth of the rows are, so that where they are cut shows."""
ODD = (
    *("", " ", "good 😀👩‍👩‍👧 film", "שלום good עולם", "مرحبا bad " * 30, "fun " * 500, "日本語の映画 is slow"),
    *("a\tgood\nfilm", "[SEP] dull [PAD] film", "GOOD, naïve — “fine”…"),
)
FILES = {"fp32": "onnx/model.onnx", "q8": "onnx/model_quantized.onnx"}
NEAR = {"fp32": 1e-4, "q8": 2e-2}
"""How far a probability may lie from the judged one: other processors and builds round bytes elsewhere."""
Answers = list[dict[str, Any]]


@dataclass(frozen=True)
class Served:
    folder: Path
    texts: list[str]
    judged: dict[str, Answers]
    """Label and probability of each text, one by one, by the name that transformers.js has for a file."""


def serve(place: Path) -> Served:
    """The bundle, written by the code that writes all of them, of a student of a few hundred steps."""
    student = trained(place)
    task = TextClassification(["neg", "pos"], max_length=LENGTH).at(student)
    target = Target("here", "one thread", "cpu", {}, threads=1)
    source = made(student, "kd2deploy.exporters.torch.TorchSession")
    texts = [text for text, _ in rows_of(write_rows(place / "eval.csv", 240, seed=1))] + list(ODD)
    features = task.reader.encode([task.reader.row(text) for text in texts], student)
    samples = [task.reader.feed([row]) for row in features[:4]]
    made_files: dict[str, Artifact] = {}
    for name, convert in (("fp32", onnx_from_torch), ("q8", int8_from_onnx)):
        (place / name).mkdir()
        made_files[name] = convert(made_files.get("fp32", source), task, target, place / name, samples)
    code = task.snippet(code_that_opens(made_files["q8"], task.networks.auto), student)
    folder = write_bundle(
        place / "models" / "student",
        student=student,
        task=task,
        target=target,
        contents=Contents(
            deployed=made_files["q8"],
            files={"serve.py": code, "requirements.txt": lines(requirements(code))},
            artifacts=made_files,
        ),
    )
    judged = {}
    for name, artifact in made_files.items():
        with open_session(artifact, task.ports, target) as session:
            logits = np.concatenate([session.run(task.reader.feed([row]))["logits"] for row in features])
        judged[name] = task.metric.answer({"logits": logits})
    return Served(folder, texts, judged)


def trained(place: Path) -> Path:
    """A tiny BERT that tells good words from bad ones, its tokenizer as a training leaves it."""

    folder = save_encoder(place / "student", hidden=32)
    task = TextClassification(["neg", "pos"], max_length=LENGTH).at(folder)
    rows = [{"text": text, "label": label} for text, label in rows_of(write_rows(place / "train.csv", 320, seed=0))]
    features = task.reader.encode(rows, folder)
    torch.manual_seed(0)
    net = task.networks.load(folder).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for step in range(120):
        batch = task.reader.collate([features[(step * 16 + place) % len(features)] for place in range(16)])
        loss = task.networks.observe(net, batch).loss
        assert loss is not None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert isinstance(net, torch.nn.Module)
    net.save_pretrained(folder)  # type: ignore[operator]
    return folder


def rows_of(file: Path) -> list[tuple[str, str]]:
    with file.open(newline="") as stream:
        return [(row["sentence"], row["label"]) for row in csv.DictReader(stream)]


def check(found: Answers, served: Served, name: str) -> None:
    """The same label for every text, and a probability as near as `NEAR` says; the key is any of the clients' own."""
    judged = served.judged[name]
    assert len(found) == len(judged) > 200
    assert len({one["label"] for one in judged}) == 2
    others = [
        (text, answer, right)
        for text, answer, right in zip(served.texts, found, judged, strict=True)
        if answer["label"] != right["label"] or abs(probability(answer) - right["probability"]) > NEAR[name]
    ]
    assert not others, f"{len(others)} of {len(judged)} answers are not those that were judged: {others[:3]}"


def probability(answer: dict[str, Any]) -> float:
    return float(answer["score"] if "score" in answer else answer["probability"])
