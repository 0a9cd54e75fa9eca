"""A training in a process of its own: `child_training.py FOLDER [SECONDS PER SCORE] [METHOD]`.

Scores every step, slowly unless told otherwise, so that whoever started it has the time to kill it.
"""

import importlib
import os
import sys
import time
from pathlib import Path

import torch
from small_text import small_bert, small_rows, small_task

from kd2deploy.train.engine import Training, distill
from kd2deploy.train.settings import Settings


def training(folder: Path, pause: float = 0.0, method: str = "logit") -> torch.nn.Module:
    """Twelve steps in one process; the trained student."""

    def score(net: torch.nn.Module) -> float:
        time.sleep(pause)
        return 0.0

    student = small_bert(2, 16, seed=1, dropout=0.1)
    distill(
        Training(
            small_task(),
            student,
            getattr(importlib.import_module(f"kd2deploy.methods.{method}"), method)(),
            small_rows(24),
            Settings(epochs=2, batch=4, learning_rate=1e-3, keep="last", score_every=1, checkpoint_every=1),
            seed=3,
            teacher=small_bert(4, 32, seed=2),
        ),
        folder,
        score=score,
        device="cpu",
    )
    return student


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = dict(enumerate(sys.argv))
    folder = Path(given[1])
    student = training(folder, float(given.get(2, "0.3")), given.get(3, "logit"))
    total = sum(weight.double().sum().item() for weight in student.parameters())
    folder.with_name(f"{folder.name}.{os.environ.get('RANK', '0')}.txt").write_text(repr(total))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
