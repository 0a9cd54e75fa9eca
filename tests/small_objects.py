"""A task of objects in small pictures, and a convolutional network for it: what methods for detectors need.

It is no task of the program's: queries are the cells of a grid, each of which answers for the object whose centre lies
in it, so that nothing is to be matched.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from kd2deploy.core import Batch, Features, Metric, Observation, Port, Reader, Regions, Row, Scores, Task, TaskNetworks
from kd2deploy.core.port import NO_OBJECT
from kd2deploy.tasks._windows import corners_of, objects_in, pixels_in

SIDE, CLASSES, MOST = 16, 3, 3
"""Pixels a side, classes, and the most objects in a picture."""
GIVEN = 4.0
"""How many times as large a side the given pictures are said to have been: their boxes of 8 pixels are not small."""


class GridConfig(PretrainedConfig):
    model_type = "tests_grid"

    def __init__(self, width: int = 8, background: bool = True, **more: Any) -> None:
        super().__init__(**more)
        self.width, self.background = width, background


class Grid(PreTrainedModel):
    """Maps of 8 x 8 and 4 x 4 cells; a query for each of the latter."""

    config_class = GridConfig
    main_input_name = "pixel_values"

    def __init__(self, config: GridConfig) -> None:
        super().__init__(config)
        width = config.width
        self.fine, self.coarse = nn.Conv2d(3, width, 3, 2, 1), nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.head = nn.Conv2d(2 * width, CLASSES + int(config.background) + 4, 1)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Those that a convolution has anyway."""

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        fine = torch.tanh(self.fine(pixel_values))
        coarse = torch.tanh(self.coarse(fine))
        answers = self.head(coarse).flatten(2).transpose(1, 2)
        return answers[..., :-4], answers[..., -4:].sigmoid(), fine, coarse


def grid(width: int = 8, *, background: bool = True, seed: int = 0) -> Grid:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Grid(GridConfig(width=width, background=background)).eval()


class GridNetworks(TaskNetworks):
    auto = "AutoModelForObjectDetection"

    def load(self, folder: Path) -> nn.Module:
        return Grid.from_pretrained(folder).eval()

    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        logits, boxes, *features = net(batch["pixel_values"])
        extras, loss = {"boxes": boxes}, None
        config: Any = net.config
        if "labels" in batch:
            extras["matched"] = matched = cells_of(batch["labels"])
            loss = own_loss(logits, boxes, matched, batch["labels"], config.background)
        return Observation(
            logits=logits,
            features=tuple(features) if "features" in needs else (),
            loss=loss,
            background=config.background,
            extras=extras,
        )

    def head(self, net: nn.Module) -> nn.Module:
        found = net.head
        assert isinstance(found, nn.Module)
        return found

    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        return "pixel_values", batch["pixel_values"]

    def regions(self, batch: Batch) -> Regions:
        classes, boxes = batch["labels"][..., 0].long(), batch["labels"][..., 1:]
        return Regions(corners_of(boxes), classes, boxes[..., 2] * boxes[..., 3] * (SIDE * GIVEN) ** 2)

    def cropped(self, batch: Batch, windows: Tensor) -> Batch:
        pixels, labels = pixels_in(batch["pixel_values"], windows), objects_in(batch["labels"], windows)
        return batch | {"pixel_values": pixels, "labels": labels}

    def deployed(self, net: nn.Module) -> nn.Module:
        raise NotImplementedError

    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
        return {"pixel_values": torch.rand(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))}


def cells_of(labels: Tensor) -> Tensor:
    """[B, 16] int64: the place of the object whose centre lies in each cell, -1 for none."""
    columns, lines = ((labels[..., at] * 4).long().clamp(0, 3) for at in (1, 2))
    found = torch.full((len(labels), 16), -1, dtype=torch.int64)
    for row, place in (labels[..., 0] >= 0).nonzero().tolist():
        found[row, lines[row, place] * 4 + columns[row, place]] = place
    return found


def own_loss(logits: Tensor, boxes: Tensor, matched: Tensor, labels: Tensor, background: bool) -> Tensor:
    """Cross-entropy of all cells, and the distance of the boxes of those that answer for an object."""
    answers = matched >= 0
    wanted = labels.gather(1, matched.clamp(min=0)[..., None].expand(-1, -1, 5))
    classes = wanted[..., 0].long().where(answers, CLASSES)
    if background:
        of_classes = F.cross_entropy(logits.flatten(0, 1), classes.flatten())
    else:
        targets = F.one_hot(classes, CLASSES + 1)[..., :-1].float()
        of_classes = F.binary_cross_entropy_with_logits(logits, targets)
    return of_classes + (boxes - wanted[..., 1:]).abs().where(answers[..., None], 0).mean()


class ObjectReader(Reader):
    @classmethod
    def fields(cls, arguments: Any) -> tuple[str, ...]:
        return ("image",)

    @classmethod
    def target_flaw(cls, label: Any) -> str:
        return ""

    def row(self, given: str, other: str | None = None) -> Row:
        return {"image": given, "label": None}

    def encode(self, rows: Sequence[Row], folder: Path) -> list[Features]:
        return [dict(row) for row in rows]

    def length(self, features: Features) -> int:
        return 1

    def feed(self, features: Sequence[Features]) -> dict[str, np.ndarray[Any, Any]]:
        return {"pixel_values": np.stack([row["pixel_values"] for row in features])}

    def collate(self, features: Sequence[Features]) -> Batch:
        return {
            "pixel_values": torch.from_numpy(self.feed(features)["pixel_values"]),
            "labels": torch.from_numpy(np.stack([row["labels"] for row in features])),
            "index": torch.tensor([row["index"] for row in features]),
        }


class NoMetric(Metric):
    name, unit, higher_is_better = "none", "share", True

    def statistics(self, outputs: Any, rows: Sequence[Row]) -> dict[str, Any]:
        raise NotImplementedError

    def scores(self, statistics: Any) -> Scores:
        raise NotImplementedError

    def at(self, statistics: Any, places: Any) -> float:
        raise NotImplementedError

    def kept(self, outputs: Any) -> dict[str, Any]:
        raise NotImplementedError

    def agreement(self, one: Any, other: Any) -> dict[str, float]:
        raise NotImplementedError

    def answer(self, outputs: Any) -> list[dict[str, Any]]:
        raise NotImplementedError


class Objects(Task):
    name = "small_objects"
    reads = ObjectReader
    own_target = True

    def __init__(self) -> None:
        self.reader, self.metric = ObjectReader(), NoMetric()
        self.inputs = (Port("pixel_values", "float32", ("batch", 3, SIDE, SIDE)),)
        self.outputs = (
            Port("logits", "float32", ("batch", 16, CLASSES + 1)),
            Port("boxes", "float32", ("batch", 16, 4)),
        )

    @cached_property
    def networks(self) -> GridNetworks:
        return GridNetworks()

    def spec(self) -> dict[str, Any]:
        return {"use": "small_objects.Objects"}

    def at(self, folder: Path) -> Objects:
        return self

    def snippet(self, opening: str, folder: Path) -> str:
        raise NotImplementedError


def object_rows(count: int = 6) -> list[Features]:
    """Coloured boxes of 2 to 8 pixels a side on noise, 1 to `MOST` in a picture, each class in a colour of its own."""
    found = []
    for place in range(count):
        draws = np.random.default_rng(place)
        pixels = draws.normal(0, 0.1, (3, SIDE, SIDE)).astype(np.float32)
        labels = np.zeros((MOST, 5), dtype=np.float32)
        labels[:, 0] = NO_OBJECT
        for one in range(1 + place % MOST):
            kind, (width, height) = int(draws.integers(CLASSES)), draws.integers(2, 9, 2)
            left, top = draws.integers(0, SIDE - width + 1), draws.integers(0, SIDE - height + 1)
            pixels[kind, top : top + height, left : left + width] += 1
            labels[one] = kind, *(np.array([left + width / 2, top + height / 2, width, height]) / SIDE)
        found.append({"pixel_values": pixels, "labels": labels, "index": place})
    return found
