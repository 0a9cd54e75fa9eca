"""The rows of a batch once more, augmented otherwise: what a view asks for."""

from typing import Any

import torch

from kd2deploy.core import Batch, Draw, Progress, Task
from kd2deploy.train.order import Numbered


class Redrawn:
    """Draws a batch's rows anew by one augmentation. See `kd2deploy.core.Redraw`."""

    def __init__(self, task: Task, rows: Numbered, augmentation: Any, device: torch.device) -> None:
        self.task, self.rows, self.augmentation, self.device = task, rows, augmentation, device

    def __call__(self, batch: Batch, progress: Progress, number: int = 1) -> Batch:
        epoch, seed = int(progress.epoch), self.rows.seed
        draws = [Draw(seed, epoch, row, number) for row in batch["index"].tolist()]
        found = self.task.reader.collate([self.rows.drawn(draw, self.augmentation) for draw in draws])
        return {name: value.to(self.device) for name, value in found.items()}
