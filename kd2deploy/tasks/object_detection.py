"""Object detection: YOLOS and the DETR family of transformers, pictures stretched to the size their processor says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kd2deploy.core import Array, Port, Row, Task
from kd2deploy.core.examples import Shown
from kd2deploy.errors import DataError
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.detectors import family_of, queries_of
from kd2deploy.tasks._boxed import Box, strip
from kd2deploy.tasks._detection_metric import DetectionMetric, corners
from kd2deploy.tasks._detection_reader import DetectionReader, check_whole
from kd2deploy.tasks._image_reader import read_by
from kd2deploy.tasks._images import opened
from kd2deploy.tasks._objects import objects_of, shares
from kd2deploy.tasks._picture_pairs import size_of

if TYPE_CHECKING:
    from kd2deploy.tasks._detection_networks import DetectionNetworks

LEAST_SHOWN, MOST_SHOWN = 0.3, 12
"""Score from which on an object is drawn into a picture of the report, and how many at most. Ours."""


class ObjectDetection(Task):
    """Rows `image` (a picture, a uint8 array or a path) with `label`: the objects in it (`_objects.py`); None is
    unlabelled.

    `height` and `width` are those of a network that has no image processor yet. `queries` (how many objects a network
    finds at most) and `background` (whether it has a class of no object) are read off a network's folder.
    """

    name: ClassVar[str] = "object_detection"
    pipeline: ClassVar[str] = "object-detection"
    requires: ClassVar[str] = "detection"
    reads = DetectionReader
    own_target: ClassVar[bool] = True
    own_classes: ClassVar[bool] = True
    reader: DetectionReader

    def __init__(
        self,
        labels: Sequence[str],
        metric: str = "map",
        height: int = 320,
        width: int = 320,
        queries: int = 100,
        background: bool = True,
    ) -> None:
        self.labels = tuple(labels)
        if len(set(self.labels)) < len(self.labels) or not self.labels:
            raise ValueError(f"labels must be different names, one at least, got {list(self.labels)}")
        if queries < 1:
            raise ValueError(f"queries must be positive, got {queries}")
        self.queries, self.background = queries, background
        self.reader = DetectionReader(self.labels, height, width)
        self.metric = DetectionMetric(self.labels, metric, background)
        self.inputs = self.reader.ports
        self.outputs = (
            Port("logits", "float32", ("batch_size", queries, len(self.labels) + background)),
            Port("pred_boxes", "float32", ("batch_size", queries, 4)),
        )

    @cached_property
    def networks(self) -> DetectionNetworks:
        from kd2deploy.tasks._detection_networks import DetectionNetworks

        return DetectionNetworks(self.labels, self.reader.height, self.reader.width)

    def spec(self) -> dict[str, Any]:
        return {
            "use": self.name,
            "labels": list(self.labels),
            "metric": self.metric.name,
            "height": self.reader.height,
            "width": self.reader.width,
            "queries": self.queries,
            "background": self.background,
        }

    def at(self, folder: Path) -> ObjectDetection:
        reader, _ = read_by(folder)
        check_whole(reader)
        config, (height, width) = read_config(folder), reader.out
        return ObjectDetection(
            self.labels, self.metric.name, height, width, queries_of(config), family_of(config).background
        )

    def floors(self, train: Sequence[Row], asked: Sequence[Row], folder: Path) -> Mapping[str, Mapping[str, Array]]:
        """The same answer to every picture: of each class the middle box of the training rows, by how often it is seen.

        A box's middle is that of each of its four numbers.
        """
        found = [objects_of(row, self.labels, size_of(row["image"])) for row in train]
        boxes = [shares(one.boxes, size_of(row["image"])) for one, row in zip(found, train, strict=True) if one]
        kinds = np.concatenate([np.zeros(0, np.int64), *(one.classes for one in found if one)])
        whole = np.concatenate([np.zeros((0, 4), np.float32), *boxes])
        if not len(kinds):
            return {}
        middle = np.full((len(self.labels), 4), 0.5, dtype=np.float32)
        often = np.full(len(self.labels), 1e-6)
        for kind in set(kinds.tolist()):
            middle[kind] = np.median(whole[kinds == kind], axis=0)
            often[kind] = min(0.99, (kinds == kind).sum() / (len(train) + 1))
        logits = np.full((len(self.labels), len(self.labels) + self.background), -30.0, dtype=np.float32)
        if self.background:
            logits[:, -1] = np.log(1 - often)
        np.fill_diagonal(logits, np.log(often) if self.background else np.log(often / (1 - often)))
        return {
            "the middle box of every class": {
                "logits": np.broadcast_to(logits, (len(asked), *logits.shape)),
                "pred_boxes": np.broadcast_to(middle, (len(asked), *middle.shape)),
            }
        }

    def aligned(self, reference: Mapping[str, Array], found: Mapping[str, Array]) -> Mapping[str, Array]:
        """Queries of networks that pick them by their scores come in another order where two are nearly equal."""
        if self.background or any(one.shape != found[name].shape for name, one in reference.items()):
            return found
        orders = [
            paired(*(np.concatenate([of["logits"][row], of["pred_boxes"][row]], -1) for of in (reference, found)))
            for row in range(len(found["logits"]))
        ]
        return {
            name: np.stack([one[order] for one, order in zip(answers, orders, strict=True)])
            for name, answers in found.items()
        }

    def shown(self, rows: Sequence[Row], answers: Mapping[str, Sequence[Mapping[str, Array]]]) -> Sequence[Shown]:
        return [
            strip(np.asarray(opened(row, 3), dtype=np.uint8), self.panels(row, at, answers), f"Picture {at + 1}")
            for at, row in enumerate(rows)
        ]

    def panels(
        self, row: Row, at: int, answers: Mapping[str, Sequence[Mapping[str, Array]]]
    ) -> dict[str, Sequence[Box]]:
        """What is in a picture, and what each network found there."""
        size = size_of(row["image"])
        right = objects_of(row, self.labels, size)
        if right is None:
            raise DataError(f"row {row.get('index', '?')} has no label to be shown")
        panels: dict[str, Sequence[Box]] = {
            "labelled": [
                (self.labels[kind], int(kind), None, box.tolist())
                for kind, box in zip(right.classes, corners(shares(right.boxes, size)), strict=True)
            ]
        }
        for who, of_rows in answers.items():
            outputs = of_rows[at]
            # a network's own outputs say whether it has a class of no object
            metric = DetectionMetric(self.labels, self.metric.name, outputs["logits"].shape[-1] > len(self.labels))
            (found,) = metric.found(outputs)
            panels[who] = [
                (self.labels[kind], int(kind), float(score), box.tolist())
                for kind, score, box in zip(found.kind, found.score, corners(found.boxes), strict=True)
                if score >= LEAST_SHOWN
            ][:MOST_SHOWN]
        return panels

    def snippet(self, opening: str, folder: Path) -> str:
        return self.reader.snippet(opening, folder, family_of(read_config(folder)).background)


def paired(one: Array, other: Array) -> Array:
    """[Q]: which row of `other` [Q, F] stands for each of `one`, so that all are as near as they can be."""
    from scipy.optimize import linear_sum_assignment

    far = np.nan_to_num(np.abs(one[:, None] - other[None]).sum(-1), nan=1e30, posinf=1e30)
    return np.asarray(linear_sum_assignment(far)[1])
