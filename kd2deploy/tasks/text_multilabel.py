"""Multi-label text classification: any number of labels for one sentence or a pair, each a yes or no of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kd2deploy.core import Array, Port, Row, Task
from kd2deploy.networks.labels import MULTI
from kd2deploy.tasks._set_metric import METRICS, SetMetric, logit
from kd2deploy.tasks._targets import SetTarget
from kd2deploy.tasks._text_reader import TextReader

if TYPE_CHECKING:
    from kd2deploy.tasks._text_networks import TextNetworks

ANSWER = "[[label for label, yes in zip(labels, row) if yes] for row in found >= threshold]"
"""The snippet's answer out of the logits `found`."""


class TextMultilabel(Task):
    """Rows `text` (and `text_pair`) with `label`: a set, as names or as one 0 or 1 for each label; None is unlabelled.

    A label is answered from `threshold` on, a probability. Where none is given it is 0.5 until `tuned` chooses one for
    a network, which `chosen` then holds. `separator` and `label_columns` say how the rows' labels are written; they are
    read when the data are prepared.
    """

    name: ClassVar[str] = "text_multilabel"
    reads = TextReader
    reader: TextReader
    metric: SetMetric
    several_labels: ClassVar[bool] = True

    def __init__(
        self,
        labels: Sequence[str],
        max_length: int = 128,
        metric: str = "micro_f1",
        pair: bool = False,
        token_types: bool = False,
        threshold: float | None = None,
        chosen: float | None = None,
        separator: str | None = None,
        label_columns: Sequence[str] | None = None,
    ) -> None:
        self.labels = tuple(labels)
        if len(set(self.labels)) < len(self.labels) or len(self.labels) < 2:
            raise ValueError(f"labels must be at least two different names, got {list(self.labels)}")
        if metric not in METRICS:
            raise ValueError(f"metric {metric!r} does not fit sets of labels; choose one of {', '.join(METRICS)}")
        for name, value in (("threshold", threshold), ("chosen", chosen)):
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} is a probability between 0 and 1, got {value}")
        self.given, self.chosen = threshold, chosen
        self.separator, self.label_columns = separator, list(label_columns) if label_columns else None
        self.reader = TextReader(SetTarget(self.labels), max_length, pair, token_types)
        self.metric = SetMetric(self.labels, metric, threshold, chosen)
        self.inputs = self.reader.ports
        self.outputs = (Port("logits", "float32", ("batch_size", len(self.labels))),)

    @cached_property
    def networks(self) -> TextNetworks:
        from kd2deploy.tasks._text_networks import TextNetworks

        return TextNetworks(self.labels, self.reader, MULTI)

    def spec(self) -> dict[str, Any]:
        return {
            "use": self.name,
            "labels": list(self.labels),
            "metric": self.metric.name,
            "threshold": self.given,
            "chosen": self.chosen,
            "separator": self.separator,
            "label_columns": self.label_columns,
            **self.reader.spec(),
        }

    def at(self, folder: Path) -> TextMultilabel:
        arguments = {name: value for name, value in self.spec().items() if name != "use"}
        return TextMultilabel(**{**arguments, **self.reader.spec_at(folder)})

    def floors(self, train: Sequence[Row], asked: Sequence[Row], folder: Path) -> Mapping[str, Mapping[str, Array]]:
        return self.reader.floors(train, asked)

    def snippet(self, opening: str, folder: Path) -> str:
        of_logits = logit(self.metric.threshold)
        constants = (
            f"labels = {list(self.labels)!r}\nthreshold = {of_logits!r}  # a probability of {self.metric.threshold}\n"
        )
        return self.reader.snippet(opening, constants, ANSWER)
