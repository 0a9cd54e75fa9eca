"""The metric of a task: what a network's answers are worth, and what they say to a person."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from kd2deploy.core.figures import MetricUnit

if TYPE_CHECKING:
    from kd2deploy.core.port import Array, Row


@dataclass(frozen=True)
class Scores:
    """How an artifact did on a set of examples; per example, so that two artifacts can be compared in pairs."""

    metrics: Mapping[str, float]
    """All metrics of the task by name; the headline is `Metric.name`."""
    statistics: Mapping[str, Array]
    """[N, ...] each, example by example: what `Metric.at` computes the headline of any of them from. An array of arrays
    [k, ...] where examples differ in size. What they are is the metric's own."""
    examples: str
    """Hash of what was right, the same for all artifacts that were scored on the same examples."""
    correct: Array | None = None
    """[N] 0/1, where the headline is the share of right answers: pairs are then compared exactly. Else None."""
    answered: Array | None = None
    """[N, 2] the right class and the one answered, where each row has one class of several."""
    hits: Mapping[str, Array] = field(default_factory=dict)
    """Where there are classes, for each that occurs in the truth: of its rows, in their order, 1 where it was answered
    and 0 where it was not. Two artifacts are compared class by class in these pairs."""

    by_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Other figures of each class, 0..1, by what they are called: F1 where a row may have several labels, since the
    recall alone of a label that is always answered is 1; average precision where objects are found."""

    def __len__(self) -> int:
        """Examples."""
        return len(next(iter(self.statistics.values())))

    @property
    def classes(self) -> dict[str, float]:
        """Recall per class, 0..1."""
        return {label: float(hits.mean()) for label, hits in self.hits.items()}


class Metric(ABC):
    """How a network's outputs are scored, compared and told. It imports no torch.

    Outputs are scored batch by batch, and only their statistics are kept. What was right may be anything: a class, a
    text, boxes; nothing outside looks into it.
    """

    name: str
    """The headline metric, a key of `Scores.metrics`."""
    unit: MetricUnit = "number"
    """How the headline is told: `share` is a share of one, written in percent."""
    suffix: str = ""
    """Written behind a `number`: "dB"."""
    higher_is_better: bool = True
    """False for an error rate, a perplexity: a drop is then what it rises by."""
    chooses: bool = False
    """Whether `chosen` chooses anything for a network."""
    tells_probability: bool = False
    """Whether an answer has a probability, so that `sure` tells those that are likely."""

    # scoring ------------------------------------------------------------------------------------------------

    @abstractmethod
    def statistics(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Mapping[str, Array]:
        """[n, ...] each: what some examples add to the metrics, from a session's outputs and their rows.

        Raises DataError for a row without what is right.
        """

    @abstractmethod
    def scores(self, statistics: Mapping[str, Array]) -> Scores:
        """All metrics of all examples."""

    @abstractmethod
    def at(self, statistics: Mapping[str, Array], places: Array) -> float:
        """The headline of the examples at these places, some of them several times: the bootstrap asks 2,000 times.
        NaN where it is undefined."""

    @final
    def score(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Scores:
        """The scores of all examples at once."""
        return self.scores(self.statistics(outputs, rows))

    @final
    def worth(self, value: float) -> float:
        """A headline as a number that is larger where it is better; of a worth, the headline again."""
        return value if self.higher_is_better else -value

    @property
    def bounded(self) -> bool:
        """Whether the headline lies in 0..1; an error rate, which is a share too, may lie above."""
        return self.unit == "share" and self.higher_is_better

    # choosing -----------------------------------------------------------------------------------------------

    def chosen(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Mapping[str, Any]:
        """What is best chosen for one network by its outputs on the validation rows: arguments of its task."""
        return {}

    def choices(self) -> Mapping[str, float]:
        """What was chosen, under names for a person."""
        return {}

    # labelling ----------------------------------------------------------------------------------------------

    def sure(self, outputs: Mapping[str, Array], least_probability: float) -> list[Any]:
        """Each example's answer as a row's `label` says it, or None where its probability is less. Asked only where
        `tells_probability`."""
        raise NotImplementedError(f"{type(self).__name__} says that its answers have a probability, and tells none")

    # comparing and telling ----------------------------------------------------------------------------------

    def wrong(self, statistics: Mapping[str, Array]) -> Array | None:
        """[n] how wrong each answer is, in a unit of the metric's own; None where a report tells no single answers."""
        return None

    def told(self, statistics: Mapping[str, Array], place: int) -> tuple[str, str]:
        """What was right in one example, and what was answered with its errors marked: `[right > answered]`. Asked only
        where `wrong` tells. What words cannot tell is `Task.shown`."""
        raise NotImplementedError(f"{type(self).__name__} says which answers are wrong, and tells none")

    def kept(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """What `agreement` reads of a batch's outputs: small, since it is kept of all examples."""
        return outputs

    @final
    def alike(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        """The agreement of two artifacts by their outputs."""
        return self.agreement(self.kept(one), self.kept(other))

    @abstractmethod
    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        """How alike two artifacts answer, by what was `kept`: `top1` (share of equal answers) and `cosine` (mean over
        examples)."""

    @abstractmethod
    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        """Each example's answer for a person: label and probability, or the value."""


def mark_of(*truth: Array) -> str:
    """The hash of what was right, arrays or arrays of them: `Scores.examples`."""
    whole = hashlib.sha256()
    for array in truth:
        whole.update(f"{array.dtype.str}{array.shape}".encode())
        whole.update(mark_of(*array).encode() if array.dtype.hasobject else array.tobytes())
    return whole.hexdigest()
