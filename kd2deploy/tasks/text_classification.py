"""Text classification and regression: one sentence or a pair, read by any encoder of transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kd2deploy.core import Array, Port, Row, Task
from kd2deploy.tasks._class_metric import ClassMetric, ValueMetric, resolve_metric
from kd2deploy.tasks._targets import ClassTarget, ValueTarget
from kd2deploy.tasks._text_reader import TextReader

if TYPE_CHECKING:
    from kd2deploy.tasks._text_networks import TextNetworks


class TextClassification(Task):
    """Rows `text` (and `text_pair`) with `label`: a class, or a number when there are no `labels`; None is unlabelled.

    `token_types` says whether the deployed network has that third input.
    """

    name: ClassVar[str] = "text_classification"
    pipeline: ClassVar[str] = "text-classification"
    reads = TextReader
    reader: TextReader

    def __init__(
        self,
        labels: Sequence[str] | None = None,
        max_length: int = 128,
        metric: str | None = None,
        pair: bool = False,
        token_types: bool = False,
    ) -> None:
        self.labels = tuple(labels or ())
        if len(set(self.labels)) < len(self.labels) or len(self.labels) == 1:
            raise ValueError(f"labels must be at least two different names, got {list(self.labels)}")
        target = ClassTarget(self.labels) if self.labels else ValueTarget()
        self.reader = TextReader(target, max_length, pair, token_types)
        name = resolve_metric(metric, len(self.labels))
        self.metric = ClassMetric(self.labels, name) if self.labels else ValueMetric(name)
        self.inputs = self.reader.ports
        self.outputs = (Port("logits", "float32", ("batch_size", len(self.labels) or 1)),)

    @cached_property
    def networks(self) -> TextNetworks:
        from kd2deploy.tasks._text_networks import TextNetworks

        return TextNetworks(self.labels, self.reader)

    def spec(self) -> dict[str, Any]:
        return {"use": self.name, "labels": list(self.labels), "metric": self.metric.name, **self.reader.spec()}

    def at(self, folder: Path) -> TextClassification:
        return TextClassification(self.labels, metric=self.metric.name, **self.reader.spec_at(folder))

    def floors(self, train: Sequence[Row], asked: Sequence[Row], folder: Path) -> Mapping[str, Mapping[str, Array]]:
        return self.reader.floors(train, asked)

    def snippet(self, opening: str, folder: Path) -> str:
        if not self.labels:
            return self.reader.snippet(opening, "", "found[:, 0].tolist()")
        constants = f"labels = {list(self.labels)!r}\n"
        return self.reader.snippet(opening, constants, "[labels[place] for place in found.argmax(-1)]")
