"""Batches for a part that learns by itself beside the student: of the same rows, in an order of their own."""

from collections.abc import Sequence
from typing import Any

import torch

from kd2deploy.core import Batch, Features, Task
from kd2deploy.train.order import Numbered, Order

APART = 7_919
"""Added to the seed, so that the order is not the training's own."""


class OwnBatches:
    """The k-th batch, k from 0: pass after pass over all rows, each in a random order.

    It depends on seed and k alone, so whoever knows how many were taken goes on with the next. The last batch of a pass
    may be shorter. With `by_length` batches hold rows of like length. Rows are augmented as the training's are, each
    pass otherwise.
    """

    def __init__(
        self,
        task: Task,
        features: Sequence[Features],
        *,
        batch: int,
        seed: int,
        by_length: bool = False,
        device: torch.device | None = None,
        augmentation: Any = None,
    ) -> None:
        self.task, self.batch, self.seed = task, batch, seed
        self.rows = Numbered(features, augmentation, seed + APART)
        self.by_length, self.device = by_length, device
        self.order: Order | None = None
        self.known: tuple[int, list[tuple[int, int]]] = (-1, [])

    def __call__(self, number: int) -> Batch:
        past, place = divmod(number, -(-len(self.rows) // self.batch))
        chosen = self.order_of(past)[place * self.batch : (place + 1) * self.batch]
        found = self.task.reader.collate([self.rows[row] for row in chosen])
        return {name: value.to(self.device) for name, value in found.items()}

    def order_of(self, past: int) -> list[tuple[int, int]]:
        """The rows of one pass, each with its number."""
        if self.known[0] != past:
            if self.order is None:  # when first asked, for lengths take a look at every row
                lengths = [self.task.reader.length(row) for row in self.rows.rows] if self.by_length else None
                self.order = Order(lengths, len(self.rows), self.batch, self.seed + APART)
            self.order.epoch = past
            self.known = past, list(self.order)
        return self.known[1]
