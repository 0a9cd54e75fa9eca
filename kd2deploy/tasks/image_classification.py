"""Image classification: any image classifier of transformers, images prepared as its folder's processor says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kd2deploy.core import Array, Port, Row, Task
from kd2deploy.tasks._class_metric import ClassMetric, resolve_metric
from kd2deploy.tasks._image_reader import ImageReader, ports_of
from kd2deploy.tasks._targets import ClassTarget

if TYPE_CHECKING:
    from kd2deploy.tasks._image_networks import ImageNetworks


TOP = 5
"""The accuracy among so many likeliest classes is told beside the others, as is usual for pictures."""


class ImageClassification(Task):
    """Rows `image` (a picture, a uint8 array or a path) with `label`: a class; None is unlabelled."""

    name: ClassVar[str] = "image_classification"
    pipeline: ClassVar[str] = "image-classification"
    requires: ClassVar[str] = "vision"
    reads = ImageReader
    reader: ImageReader

    def __init__(
        self,
        labels: Sequence[str],
        metric: str | None = None,
        channels: int = 3,
        height: int = 224,
        width: int = 224,
    ) -> None:
        self.labels = tuple(labels)
        if len(set(self.labels)) < len(self.labels) or len(self.labels) < 2:
            raise ValueError(f"labels must be at least two different names, got {list(self.labels)}")
        self.reader = ImageReader(ClassTarget(self.labels), channels, height, width)
        self.metric = ClassMetric(self.labels, resolve_metric(metric, len(self.labels)), TOP)
        self.inputs = self.reader.ports
        self.outputs = (Port("logits", "float32", ("batch_size", len(self.labels))),)

    @cached_property
    def networks(self) -> ImageNetworks:
        from kd2deploy.tasks._image_networks import ImageNetworks

        return ImageNetworks(self.labels, self.reader)

    def spec(self) -> dict[str, Any]:
        return {"use": self.name, "labels": list(self.labels), "metric": self.metric.name, **self.reader.spec()}

    def at(self, folder: Path) -> ImageClassification:
        return ImageClassification(self.labels, self.metric.name, **ports_of(folder))

    def floors(self, train: Sequence[Row], asked: Sequence[Row], folder: Path) -> Mapping[str, Mapping[str, Array]]:
        return self.reader.floors(train, asked, folder)

    def snippet(self, opening: str, folder: Path) -> str:
        return self.reader.snippet(opening, folder, self.labels)
