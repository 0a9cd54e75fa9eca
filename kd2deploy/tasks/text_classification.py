"""Text classification and regression: one sentence or a pair, read by any encoder of transformers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from kd2deploy.core import Batch, Features, Observation, Port, Reading, Row, Scores, ServerReader, Task
from kd2deploy.tasks._classification import (
    METRICS,
    SHARES,
    Array,
    agreement_of,
    answers_of,
    check_labels,
    cross_entropy,
    head_of,
    label_index,
    resolve_metric,
    score_classes,
    score_values,
    squared_error,
    target_value,
    with_two_outputs,
)
from kd2deploy.tasks._text import (
    COLUMNS,
    Deployed,
    Texts,
    batched,
    continuous_words,
    encoder,
    observed,
    word_embeddings,
)
from kd2deploy.tasks._tokens import check_reading, read_alike


class TextClassification(Task):
    """Rows `text` (and `text_pair`) with `label`: a class, or a number when there are no `labels`; None is unlabelled.

    `token_types` says whether the deployed network has that third input.
    """

    name: ClassVar[str] = "text_classification"
    auto: ClassVar[str] = "AutoModelForSequenceClassification"
    pipeline: ClassVar[str] = "text-classification"
    shares: ClassVar[frozenset[str]] = SHARES
    columns: ClassVar[Mapping[str, tuple[str, ...]]] = COLUMNS

    def __init__(
        self,
        labels: Sequence[str] | None = None,
        max_length: int = 128,
        metric: str | None = None,
        pair: bool = False,
        token_types: bool = False,
    ) -> None:
        self.texts = Texts(max_length, pair, token_types)
        self.labels = tuple(labels or ())
        if len(set(self.labels)) < len(self.labels) or len(self.labels) == 1:
            raise ValueError(f"labels must be at least two different names, got {list(self.labels)}")
        self.metric = resolve_metric(metric, len(self.labels))
        self.binary = self.metric == "accuracy"
        self.inputs = self.texts.ports
        self.outputs = (Port("logits", "float32", ("batch_size", len(self.labels) or 1)),)

    def spec(self) -> dict[str, Any]:
        return {"use": self.name, "labels": list(self.labels), "metric": self.metric, **self.texts.spec()}

    def at(self, folder: Path) -> "TextClassification":
        return TextClassification(self.labels, metric=self.metric, **self.texts.at(folder).spec())

    @property
    def max_length(self) -> int:
        return self.texts.max_length

    @property
    def token_types(self) -> bool:
        return self.texts.token_types

    @classmethod
    def fields(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        return Texts(pair=bool(arguments.get("pair"))).fields

    @classmethod
    def flaw(cls, value: Any) -> str:
        return Texts.flaw(value)

    # networks -----------------------------------------------------------------------------------------------

    def load(self, folder: Path) -> nn.Module:
        net = encoder(self.auto, folder)
        net = with_two_outputs(net, self.labels)
        check_labels(net.config, self.labels, folder, self.problem_type)
        return net

    def check_inputs(self, folder: Path) -> None:
        check_reading(folder)

    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        seen = observed(net, self.head(net) if "embedding" in needs else None, batch, needs)
        return replace(seen, loss=self.loss(seen.logits, batch.get("labels")))

    def reads_alike(self, one: Path, other: Path) -> bool:
        return read_alike(one, other)

    def write_as_judged(self, folder: Path) -> None:
        self.texts.write_as_judged(folder)

    def loss(self, logits: Tensor, labels: Tensor | None) -> Tensor | None:
        """Cross-entropy, or squared error for regression, over the labelled rows."""
        if labels is None:
            return None
        return cross_entropy(logits, labels) if self.labels else squared_error(logits, labels)

    def head(self, net: nn.Module) -> nn.Module:
        return head_of(net, len(self.labels) or 1)

    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        return continuous_words(net, batch)

    def token_table(self, net: nn.Module) -> Tensor:
        return word_embeddings(net)

    # data ---------------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row], folder: Path) -> Sequence[Features]:
        labels = [label_index(row, self.labels) if self.labels else target_value(row) for row in rows]
        return self.texts.encode(rows, folder).having(labels=np.array(labels))

    def reading(self, rows: Sequence[Row], folder: Path) -> Reading:
        return self.texts.reading(rows, folder)

    def collate(self, features: Sequence[Features]) -> Batch:
        batch = batched(features)
        if "labels" in features[0]:
            kind = torch.int64 if self.labels else torch.float32
            batch["labels"] = torch.tensor([row["labels"] for row in features], dtype=kind)
        return batch

    def feed(self, features: Sequence[Features]) -> dict[str, Array]:
        return self.texts.feed(features)

    def length(self, features: Features) -> int:
        return len(features["input_ids"])

    # export -------------------------------------------------------------------------------------------------

    def deployed(self, net: nn.Module) -> nn.Module:
        return Deployed(net, tuple(port.name for port in self.inputs))

    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
        return self.texts.example(net, batch, sizes)

    # judging ------------------------------------------------------------------------------------------------

    def score(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Scores:
        if not self.labels:
            return score_values(outputs["logits"], np.array([target_value(row) for row in rows], dtype=np.float64))
        truth = np.array([label_index(row, self.labels) for row in rows], dtype=np.int64)
        return score_classes(outputs["logits"], truth, self.labels)

    def headline(self, truth: Array, predictions: Array) -> float:
        return METRICS[self.metric](truth, predictions)

    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        return agreement_of(one["logits"], other["logits"])

    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        return answers_of(outputs["logits"], self.labels)

    def row(self, given: str, other: str | None = None) -> Row:
        return self.texts.row(given, other)

    def server_reader(self) -> ServerReader:
        return self.texts.server_reader()

    def snippet(self, file: str, folder: Path) -> str:
        if not self.labels:
            return self.texts.snippet(file, self.auto, "", "found[:, 0].tolist()")
        constants = f"labels = {list(self.labels)!r}\n"
        return self.texts.snippet(file, self.auto, constants, "[labels[place] for place in found.argmax(-1)]")
