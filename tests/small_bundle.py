"""The cheapest real bundle: a tiny encoder that PyTorch runs, written in a second; and how to forge one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_models import save_encoder

from kd2deploy.core import Target, Variant, build_task
from kd2deploy.exporters.bundle import Contents, write_bundle, write_sums
from kd2deploy.stages.job import model_at

TARGET = Target(name="here", about="this machine", device="cpu", variants={"plain": Variant()}, threads=1)


def small_bundle(folder: Path, **extra_files: str | Path) -> Path:
    """A bundle in `folder/bundle` that answers neg or pos."""
    encoder = save_encoder(folder / "encoder", labels=["neg", "pos"])
    task = build_task({"use": "text_classification", "labels": ["neg", "pos"], "max_length": 16}).at(encoder)
    student = model_at(encoder, task)
    return write_bundle(
        folder / "bundle",
        student=encoder,
        task=task,
        target=TARGET,
        contents=Contents(
            deployed=student.artifact,
            files={"README.md": "# A student\n", **extra_files},
            artifacts={"plain": student.artifact},
        ),
    )


def forged(bundle: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The bundle with another manifest, and the sums written anew: what anybody can do who sends one."""
    file = bundle / "bundle.json"
    found = json.loads(file.read_text())
    change(found)
    file.write_text(json.dumps(found))
    write_sums(bundle)
    return bundle
