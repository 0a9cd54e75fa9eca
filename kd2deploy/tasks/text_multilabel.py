"""Multi-label text classification: any number of labels for one sentence or a pair, each a yes or no of its own."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from kd2deploy.core import Batch, Features, Observation, Port, Reading, Row, Scores, ServerReader, Task
from kd2deploy.tasks._classification import MULTI, Array, check_labels, head_of
from kd2deploy.tasks._multilabel import (
    METRICS,
    agreement_of_sets,
    answers_of_sets,
    best_threshold,
    binary_cross_entropy,
    label_set,
    logit,
    score_sets,
    yes_or_no,
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

ANSWER = "[[label for label, yes in zip(labels, row) if yes] for row in found >= threshold]"
"""The snippet's answer out of the logits `found`."""


class TextMultilabel(Task):
    """Rows `text` (and `text_pair`) with `label`: a set, as names or as one 0 or 1 for each label; None is unlabelled.

    A label is answered from `threshold` on, a probability. Where none is given it is 0.5 until `tuned` chooses one for
    a network, which `chosen` then holds. `separator` and `label_columns` say how the rows' labels are written; they are
    read when the data are prepared.
    """

    name: ClassVar[str] = "text_multilabel"
    auto: ClassVar[str] = "AutoModelForSequenceClassification"
    problem_type: ClassVar[str] = MULTI
    shares: ClassVar[frozenset[str]] = frozenset(METRICS)
    columns: ClassVar[Mapping[str, tuple[str, ...]]] = COLUMNS

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
        self.texts = Texts(max_length, pair, token_types)
        self.metric, self.binary = metric, metric == "subset_accuracy"
        self.given, self.chosen = threshold, chosen
        self.separator, self.label_columns = separator, list(label_columns) if label_columns else None
        self.chooses = threshold is None
        self.inputs = self.texts.ports
        self.outputs = (Port("logits", "float32", ("batch_size", len(self.labels))),)

    @property
    def threshold(self) -> float:
        """The probability from which on a label is answered."""
        return self.given or self.chosen or 0.5

    def spec(self) -> dict[str, Any]:
        return {
            "use": self.name,
            "labels": list(self.labels),
            "metric": self.metric,
            "threshold": self.given,
            "chosen": self.chosen,
            "separator": self.separator,
            "label_columns": self.label_columns,
            **self.texts.spec(),
        }

    def at(self, folder: Path) -> "TextMultilabel":
        return self.changed(**self.texts.at(folder).spec())

    def changed(self, **arguments: Any) -> "TextMultilabel":
        known = inspect.signature(TextMultilabel).parameters
        return TextMultilabel(**{**{name: value for name, value in self.spec().items() if name in known}, **arguments})

    @classmethod
    def fields(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        return Texts(pair=bool(arguments.get("pair"))).fields

    @classmethod
    def flaw(cls, value: Any) -> str:
        return Texts.flaw(value)

    # networks -----------------------------------------------------------------------------------------------

    def load(self, folder: Path) -> nn.Module:
        net = encoder(self.auto, folder)
        check_labels(net.config, self.labels, folder, self.problem_type)
        return net

    def check_inputs(self, folder: Path) -> None:
        check_reading(folder)

    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        seen, labels = (
            observed(net, self.head(net) if "embedding" in needs else None, batch, needs),
            batch.get("labels"),
        )
        loss = None if labels is None else binary_cross_entropy(seen.logits, labels)
        return replace(seen, logits=yes_or_no(seen.logits), loss=loss, per_label=True)

    def write_as_judged(self, folder: Path) -> None:
        self.texts.write_as_judged(folder)

    def reads_alike(self, one: Path, other: Path) -> bool:
        return read_alike(one, other)

    def head(self, net: nn.Module) -> nn.Module:
        return head_of(net, len(self.labels))

    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        return continuous_words(net, batch)

    def token_table(self, net: nn.Module) -> Tensor:
        return word_embeddings(net)

    # data ---------------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row], folder: Path) -> Sequence[Features]:
        return self.texts.encode(rows, folder).having(labels=self.truth(rows))

    def reading(self, rows: Sequence[Row], folder: Path) -> Reading:
        return self.texts.reading(rows, folder)

    def collate(self, features: Sequence[Features]) -> Batch:
        batch = batched(features)
        if "labels" in features[0]:
            batch["labels"] = torch.from_numpy(np.array([row["labels"] for row in features], dtype=np.int64))
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
        return score_sets(outputs["logits"], self.truth(rows), self.labels, self.threshold)

    def truth(self, rows: Sequence[Row]) -> Array:
        """[N, K] 0 and 1; UNLABELLED where a row has no labels."""
        found = [label_set(row, self.labels) for row in rows]
        return np.array(found, dtype=np.int64).reshape(len(rows), len(self.labels))

    def headline(self, truth: Array, predictions: Array) -> float:
        return METRICS[self.metric](truth, predictions)

    def tuned(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Task:
        if not self.chooses:
            return self
        return self.changed(chosen=best_threshold(outputs["logits"], self.truth(rows), self.metric))

    def choices(self) -> Mapping[str, float]:
        return {} if self.chosen is None else {"threshold": self.chosen}

    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        return agreement_of_sets(one["logits"], other["logits"], self.threshold)

    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        return answers_of_sets(outputs["logits"], self.labels, self.threshold)

    def row(self, given: str, other: str | None = None) -> Row:
        return self.texts.row(given, other)

    def server_reader(self) -> ServerReader:
        return self.texts.server_reader()

    def snippet(self, file: str, folder: Path) -> str:
        of_logits = logit(self.threshold)
        constants = f"labels = {list(self.labels)!r}\nthreshold = {of_logits!r}  # a probability of {self.threshold}\n"
        return self.texts.snippet(file, self.auto, constants, ANSWER)
