"""A training in a process of its own: `child_training.py FOLDER`.

Scores every step, slowly, so that whoever started it has the time to kill it.
"""

import sys
import time
from pathlib import Path

import torch
from small_text import small_bert, small_rows, small_task

from kd2deploy.methods.logit import logit
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.settings import Settings


def training(folder: Path, pause: float = 0.0) -> torch.nn.Module:
    """Twelve steps; the trained student."""

    def score(net: torch.nn.Module) -> float:
        time.sleep(pause)
        return 0.0

    student = small_bert(2, 16, seed=1, dropout=0.1)
    distill(
        Training(
            small_task(),
            student,
            logit(),
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
    training(Path(sys.argv[1]), pause=0.3)
