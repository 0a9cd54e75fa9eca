"""Where a method is held to the contract: a task, a small and a large random network for it, and rows as features."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import small_detection
import small_restoration
import small_text
from torch import nn

from kd2deploy.core import Batch, Features, Task

OF_PICTURES = frozenset({"dckd"})
"""Methods that compare restored pictures, and refuse every other task."""
OF_OBJECTS = frozenset({"detr_kd", "fgd", "inconsistent_kd", "mgd"})
"""Methods of detectors, which refuse every other task."""


@dataclass(frozen=True)
class Ground:
    task: Callable[[], Task]
    small: Callable[..., nn.Module]
    """By seed, and with dropout where networks of this kind have some."""
    large: Callable[[int], nn.Module]
    rows: Callable[[int], Sequence[Features]]
    augment: Mapping[str, Any] | None = None
    """What trainings of these rows are given."""

    def batch(self, rows: int) -> Batch:
        return self.task().reader.collate(list(self.rows(rows)))


def small_restorer(seed: int, dropout: float = 0.0) -> nn.Module:
    """Networks of ours have no dropout."""
    return small_restoration.restorer(8, 2, seed=seed)


def picture_rows(count: int) -> Sequence[Features]:
    return small_restoration.small_task().reader.encode(small_restoration.made_rows(count, 16, 16), None)  # type: ignore[arg-type]


TEXTS = Ground(
    small_text.small_task,
    lambda seed, dropout=0.0: small_text.small_bert(2, 16, seed=seed, dropout=dropout),
    lambda seed: small_text.small_bert(4, 32, seed=seed),
    small_text.small_rows,
)
PICTURES = Ground(
    small_restoration.small_task,
    small_restorer,
    lambda seed: small_restoration.restorer(12, 4, seed=seed),
    picture_rows,
    {"patch": 8},
)
OBJECTS = Ground(
    small_detection.detection_task,
    lambda seed, dropout=0.0: small_detection.yolos(16, 1, seed=seed, dropout=dropout),
    lambda seed: small_detection.yolos(32, 2, seed=seed),
    small_detection.scene_rows,
)
