"""Optimizer steps per second of the real engine in bf16: without a teacher, with one that runs, and with its answers
cached."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _gpu_children import write
from _gpu_networks import save, sizes
from _gpu_runtimes import Device

from kd2deploy.core import Features
from kd2deploy.methods.logit import logit
from kd2deploy.methods.task_only import task_only
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.settings import Settings
from kd2deploy.train.teacher_cache import TeacherCache

WAYS = ("task_only", "live", "cached")
WARM_UP_BATCHES = 4


def distillation(out: Path, *, folder: Path, tiny: bool, device: Device, rounds: int) -> None:
    """The three ways there and back in each round; a short training of each comes first and is not counted."""
    teacher_size, student_size = sizes(tiny)[:2]
    rows, length, batch = (64, 16, 8) if tiny else (4096, 128, 32)
    features = examples(rows, length)
    task = TextClassification(labels=("no", "yes"), max_length=length)
    settings = Settings(epochs=1, batch=batch, precision="bf16", keep="last", checkpoint_every=10**6)
    teacher = task.networks.load(save(teacher_size, folder / "teacher"))
    student = save(student_size, folder / "student")

    def trained(way: str, on: Sequence[Features], name: str) -> float:
        """Steps per second."""
        result = distill(
            Training(
                task,
                task.networks.load(student),
                task_only() if way == "task_only" else logit(),
                on,
                settings,
                teacher=None if way == "task_only" else teacher,
                cache=cached(task, teacher, on, folder, device) if way == "cached" else None,
            ),
            folder / name,
            device=device,
        )
        return result.steps / result.seconds

    for way in WAYS:
        trained(way, features[: WARM_UP_BATCHES * batch], f"warm-{way}")
    found: dict[str, Any] = {
        "teacher": teacher_size.name,
        "student": student_size.name,
        "batch": batch,
        "length": length,
        "precision": "bf16",
        "steps": rows // batch,
        "steps_per_s": {way: [] for way in WAYS},
    }
    cached(task, teacher, features, folder, device)  # filled before the first round
    for turn in range(rounds):
        for half, order in enumerate((WAYS, WAYS[::-1])):
            for way in order:
                found["steps_per_s"][way].append(trained(way, features, f"{way}-{turn}-{half}"))
                write({"distillation": {**found, **summary(found["steps_per_s"])}}, out)


def examples(rows: int, length: int) -> list[Features]:
    """Words at random, all of one length."""
    words = np.random.default_rng(0).integers(5, 64, size=(rows, length))
    return [
        {"input_ids": row, "pad_id": 0, "labels": int(row[1]) % 2, "index": index} for index, row in enumerate(words)
    ]


def cached(
    task: TextClassification, teacher: Any, features: Sequence[Features], folder: Path, device: Device
) -> TeacherCache:
    place = folder / "cache"
    teacher.to(device)
    return TeacherCache.open_or_fill(place, task, teacher, features, teacher_hash="untrained")


def summary(steps_per_s: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and how many times longer a step takes than without any teacher."""
    medians = {way: statistics.median(each) for way, each in steps_per_s.items() if each}
    alone = medians["task_only"]
    return {"median_steps_per_s": medians, "time_over_task_only": {way: alone / each for way, each in medians.items()}}
