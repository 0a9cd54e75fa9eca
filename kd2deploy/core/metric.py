"""The metric of a task: what a network's answers are worth, and what they say to a person."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kd2deploy.core.figures import MetricUnit
from kd2deploy.core.port import Array, Row


@dataclass(frozen=True)
class Scores:
    """How an artifact did on a set of examples; per example, so that two artifacts can be compared in pairs."""

    truth: Array
    """[N, ...] what was right."""
    predictions: Array
    """[N, ...] what was answered."""
    correct: Array
    """[N] 0/1 for classification, else a per-example score where higher is better."""
    metrics: Mapping[str, float]
    """All metrics of the task by name; the headline is `Metric.name`."""
    hits: Mapping[str, Array] = field(default_factory=dict)
    """Where there are classes, for each that occurs in the truth: of its rows, in their order, 1 where it was answered
    and 0 where it was not. Two artifacts are compared class by class in these pairs."""

    f1: Mapping[str, float] = field(default_factory=dict)
    """F1 per label, 0..1, where a row may have several: the recall alone of a label that is always answered is 1."""

    @property
    def classes(self) -> dict[str, float]:
        """Recall per class, 0..1."""
        return {label: float(hits.mean()) for label, hits in self.hits.items()}


class Metric(ABC):
    """How a network's outputs are scored, compared and told. It imports no torch."""

    name: str
    """The headline metric, a key of `Scores.metrics`; higher is better."""
    unit: MetricUnit = "number"
    """How the headline is told: `share` is a share of one, written in percent."""
    suffix: str = ""
    """Written behind a `number`: "dB"."""
    binary: bool = False
    """True when `Scores.correct` is 0/1 and its mean is the headline metric: pairs are then compared by McNemar."""
    chooses: bool = False
    """Whether `chosen` chooses anything for a network."""

    @abstractmethod
    def score(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Scores:
        """Score a session's outputs, concatenated over the examples, against the rows."""

    @abstractmethod
    def headline(self, truth: Array, predictions: Array) -> float:
        """The headline metric of any subset of examples: what the paired bootstrap calls."""

    def chosen(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Mapping[str, Any]:
        """What is best chosen for one network by its outputs on the validation rows: arguments of its task."""
        return {}

    def choices(self) -> Mapping[str, float]:
        """What was chosen, under names for a person."""
        return {}

    @abstractmethod
    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        """How alike two artifacts answer: `top1` (share of equal answers) and `cosine` (mean over examples)."""

    @abstractmethod
    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        """Each example's answer for a person: label and probability, or the value."""
