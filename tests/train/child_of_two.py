"""Trainings that two processes share: `child_of_two.py FOLDER`, twice, under torch's launcher."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from small_text import small_bert, small_rows, small_task
from torch import nn

from kd2deploy.core import Method, Step, Term, Weighted
from kd2deploy.core.ranks import processes, rank
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.settings import Settings

SHARED = Settings(
    steps=6,
    batch=4,
    processes=2,
    learning_rate=0.02,
    optimizer="sgd",  # adamw would make much of the rounding of gradients that are nothing
    keep="last",
    group_by_length=False,
)
DRAWING = replace(SHARED, optimizer="adamw", learning_rate=1e-3, checkpoint_every=1)
ALONE = replace(SHARED, processes=1, batch=8)
"""As many rows in each step."""
METHODS: dict[str, dict[str, Any]] = {
    "contrastive": {"bank": 8},
    "dist": {},
    "hidden": {},
    "mlkd": {},
    "mutual": {},
    "task_only": {},
}


class Stopped(Exception):
    """Stands for a kill of all processes."""


class Stops(Term):
    """0, until it stops the training."""

    def __init__(self, at: int | None) -> None:
        super().__init__()
        self.at = at
        self.seeds: set[int] = set()

    def forward(self, step: Step) -> torch.Tensor:
        self.seeds.add(torch.initial_seed())
        if step.progress.step == self.at:
            raise Stopped
        logits = step.student().logits
        assert logits is not None
        return logits.sum() * 0.0


def method_called(name: str, **arguments: Any) -> Method:
    built: Method = getattr(importlib.import_module(f"kd2deploy.methods.{name}"), name)(**arguments)
    return built


def trained(folder: Path, method: Method, settings: Settings, *, rows: int = 24, dropout: float = 0.0) -> nn.Module:
    student = small_bert(2, 16, seed=1, dropout=dropout)
    teacher = small_bert(4, 32, seed=2) if "teacher" in method.needs else None
    training = Training(small_task(), student, method, small_rows(rows), settings, seed=3, teacher=teacher)
    distill(training, folder, score=lambda net: float(next(net.parameters()).double().sum()), device="cpu")
    return student


def stopping(at: int | None) -> tuple[Method, Stops]:
    """A method that draws, in networks that drop, until it stops."""
    base, stops = method_called("rail_kd"), Stops(at)
    return Method(**base.weighted, stops=Weighted(stops)), stops


def total(net: nn.Module) -> float:
    return sum(weight.double().sum().item() for weight in net.parameters())


def main(folder: Path) -> None:
    found: dict[str, Any] = {}
    for name, arguments in METHODS.items():
        found[name] = total(trained(folder / name, method_called(name, **arguments), SHARED))
    more = {"rows": 22, "dropout": 0.1}  # the last batch of an epoch is filled up with the first rows
    method, stops = stopping(None)
    found["whole"] = total(trained(folder / "whole", method, DRAWING, **more))
    found["seeds"] = sorted(stops.seeds)
    try:
        trained(folder / "stopped", stopping(4)[0], DRAWING, **more)
    except Stopped:
        found["left"] = sorted(checkpoint.name for checkpoint in (folder / "stopped").glob("checkpoint-*"))
    torch.distributed.barrier()
    found["stopped"] = total(trained(folder / "stopped", stopping(None)[0], DRAWING, **more))
    try:
        trained(folder / "other", method_called("task_only"), ALONE)
    except ValueError as error:
        found["refused"] = str(error)
    assert processes() == SHARED.processes
    (folder / f"{rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
    torch.distributed.destroy_process_group()
