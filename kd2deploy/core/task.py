"""A task: the only place that knows a modality. One final class per modality, in `kd2deploy/tasks/`."""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from kd2deploy.core.arguments import bind_arguments, one_line
from kd2deploy.core.trust import HOMES, files_of, named_in_file, short
from kd2deploy.errors import Fault, ModelError, TrustError

if TYPE_CHECKING:  # a process that runs a deployed file needs the ports of its task alone
    from torch import Tensor, nn

    from kd2deploy.core.step import Batch, Observation

Row = Mapping[str, Any]
"""One example as it was read: the task's field names (`text`, `text_pair`, `label`), and `index`."""
Features = Mapping[str, Any]
"""One example as a network reads it: argument names to arrays without the batch axis, `labels`, `index`."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Port:
    """A named tensor at the border of a deployed network. Axes are names (dynamic) or numbers (fixed)."""

    name: str
    dtype: str
    axes: tuple[str | int, ...]


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
    """All metrics of the task by name; the headline is `Task.metric`."""
    hits: Mapping[str, Array] = field(default_factory=dict)
    """Where there are classes, for each that occurs in the truth: of its rows, in their order, 1 where it was answered
    and 0 where it was not. Two artifacts are compared class by class in these pairs."""

    f1: Mapping[str, float] = field(default_factory=dict)
    """F1 per label, 0..1, where a row may have several: the recall alone of a label that is always answered is 1."""

    @property
    def classes(self) -> dict[str, float]:
        """Recall per class, 0..1."""
        return {label: float(hits.mean()) for label, hits in self.hits.items()}


@dataclass(frozen=True)
class ServerReader:
    """A python model of NVIDIA Triton that makes a task's `inputs` of the strings that clients send."""

    fields: tuple[str, ...]
    """Names of the strings of one row."""
    code: str
    files: tuple[str, ...]
    """The bundle's files that it opens beside itself."""


@dataclass(frozen=True)
class Reading:
    """How much of some rows a network reads, for a person: figures by name, and a sentence for each that is too low."""

    figures: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


class Task(ABC):
    """What is to be done, with everything that depends on the modality.

    Tasks are rebuilt in other processes from `spec`, so their state is a few plain values.
    """

    name: ClassVar[str]
    auto: ClassVar[str]
    """Name of the transformers auto class that loads a network for it."""
    pipeline: ClassVar[str] = ""
    """What a model hub calls it: `text-classification`; empty where it has no name there."""
    shares: ClassVar[frozenset[str]] = frozenset()
    """Metrics that are shares of one and written in percent; the others are plain numbers."""
    metric: str
    """The headline metric, a key of `Scores.metrics`; higher is better."""
    problem_type: ClassVar[str] = "single_label_classification"
    """What transformers calls it in a classifier's configuration; the labels of `multi_label_classification` do not
    exclude each other, and a row's label is then a set of them."""
    chooses: bool = False
    """Whether `tuned` chooses anything for a network."""
    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """What a row's fields are usually called in files, so that columns that nobody named are found."""
    binary: bool
    """True when `Scores.correct` is 0/1 and its mean is the headline metric: pairs are then compared by McNemar."""
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Plain values to rebuild it: `{"use": name, ...}`, the arguments of its class."""

    @abstractmethod
    def at(self, folder: Path) -> Task:
        """The same task with the ports of the network in `folder`: teacher and student may read different inputs."""

    @classmethod
    def fields(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """The fields that a row must have beside `label`, for a task with these arguments; none are not checked."""
        return ()

    @classmethod
    def flaw(cls, value: Any) -> str:
        """Why the value of one of `fields` cannot be read; empty for one that can."""
        return ""

    # networks -----------------------------------------------------------------------------------------------

    @abstractmethod
    def load(self, folder: Path) -> nn.Module:
        """The network in a folder, from safetensors only, in eval mode. Raises ModelError with the remedy."""

    def check_inputs(self, folder: Path) -> None:  # noqa: B027 (for most networks nothing can be wrong)
        """Raise ModelError, before any training, where what reads the rows does not fit the network beside it."""

    def fresh(self) -> Mapping[str, Any]:
        """Configuration fields that a network made for this task must have, where its architecture knows them."""
        return {}

    def reads_alike(self, one: Path, other: Path) -> bool:
        """Whether the networks in two folders read the same inputs from the same rows."""
        return True

    def write_inputs(self, folder: Path) -> None:  # noqa: B027 (most networks come with their tokenizer)
        """Say in a new network's folder how its inputs are read, where nothing there says so yet."""

    def write_as_judged(self, folder: Path) -> None:  # noqa: B027 (a task of one's own may have nothing to say)
        """Say in a bundle's files how its inputs are read, so that every client reads them as they were judged."""

    @abstractmethod
    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        """Run a network on a batch. Ignores the keys that are not the network's arguments."""

    @abstractmethod
    def head(self, net: nn.Module) -> nn.Module:
        """The layer whose input is the embedding."""

    @abstractmethod
    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        """The network's input as a tensor that can be mixed or differentiated, and the argument it replaces."""

    def token_table(self, net: nn.Module) -> Tensor | None:
        """[V, D]: the network's own word embeddings, one row per token id; None where it reads no tokens."""
        return None

    # data ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, rows: Sequence[Row], folder: Path) -> Sequence[Features]:
        """Rows as the network in `folder` reads them (its tokenizer or image processor lies there too).

        They are kept for as long as they are trained on: in a `Table` where they are many and small.
        """

    def reading(self, rows: Sequence[Row], folder: Path) -> Reading:
        """How much of the rows the network in `folder` reads: of many before a training, of one before its answer."""
        return Reading()

    @abstractmethod
    def collate(self, features: Sequence[Features]) -> Batch:
        """One batch, padded as needed; keys under `teacher.` are padded by the teacher's rules."""

    @abstractmethod
    def feed(self, features: Sequence[Features]) -> dict[str, Array]:
        """One batch as a session reads it: exactly the names of `inputs`."""

    @abstractmethod
    def length(self, features: Features) -> int:
        """What rows are grouped by so that little is padded; 1 where all are equal."""

    # export -------------------------------------------------------------------------------------------------

    @abstractmethod
    def deployed(self, net: nn.Module) -> nn.Module:
        """The network as exported: positional tensors in the order of `inputs`, a tuple in the order of `outputs`."""

    @abstractmethod
    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
        """Seeded inputs for tracing, timing and checks; `sizes` set the dynamic axes by name."""

    # judging ------------------------------------------------------------------------------------------------

    @abstractmethod
    def score(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Scores:
        """Score a session's outputs, concatenated over the examples, against the rows."""

    @abstractmethod
    def headline(self, truth: Array, predictions: Array) -> float:
        """The headline metric of any subset of examples: what the paired bootstrap calls."""

    def tuned(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Task:
        """The same task with what is chosen for one network by its outputs on the validation rows."""
        return self

    def choices(self) -> Mapping[str, float]:
        """What was chosen, under names for a person."""
        return {}

    @abstractmethod
    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        """How alike two artifacts answer: `top1` (share of equal answers) and `cosine` (mean over examples)."""

    @abstractmethod
    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        """Each example's answer for a person: label and probability, or the value."""

    @abstractmethod
    def row(self, given: str, other: str | None = None) -> Row:
        """One unlabelled row out of what a person typed: a text (and the second of a pair), or a file's path."""

    def server_reader(self) -> ServerReader | None:
        """What reads rows on an inference server; None where clients send `inputs` themselves."""
        return None

    @abstractmethod
    def snippet(self, file: str, folder: Path) -> str:
        """Python code that serves the bundle's `file` with its runtime and the preprocessing library alone.

        `folder` holds the network that it was made of.
        """


def build_task(spec: Mapping[str, Any]) -> Task:
    """The task that `Task.spec` describes: `use` names a module of `kd2deploy.tasks`, or is a dotted class name.

    Raises TrustError for a class that is neither ours nor trusted, ModelError for arguments that do not fit.
    """
    arguments = dict(spec)
    use = arguments.pop("use", None)
    if isinstance(use, str) and "." in use:
        found = named_in_file("task", use)
    else:
        if use not in files_of("task"):
            raise TrustError(f"no task is called {short(use)}; known: {', '.join(files_of('task'))}")
        inside = vars(importlib.import_module(f"{HOMES['task']}.{use}")).values()
        found = next(kind for kind in inside if isinstance(kind, type) and getattr(kind, "name", None) == use)
    if not isinstance(found, type) or not issubclass(found, Task) or inspect.isabstract(found):
        raise TrustError(f"{use} is no task: it is not a class of kd2deploy.core.Task")
    known, faults = bind_arguments(found, arguments, str(use), "task", 0)
    try:
        if not faults:
            return found(**known)
    except ValueError as error:
        faults = [Fault("task", one_line(error))]
    raise ModelError("; ".join(map(str, faults)))


def known_by_ports(spec: Mapping[str, Any], inputs: Sequence[Port], outputs: Sequence[Port]) -> Task:
    """The task that `spec` describes, built only when more is asked of it than its name and its ports."""
    return cast(Task, _KnownByPorts(spec, tuple(inputs), tuple(outputs)))


class _KnownByPorts:
    """All that a session of a deployed file reads of a task; a network's session gets the rest of the task itself."""

    def __init__(self, spec: Mapping[str, Any], inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> None:
        self.name, self.inputs, self.outputs = str(spec["use"]), inputs, outputs
        self._described = dict(spec)

    @cached_property
    def _built(self) -> Task:
        return build_task(self._described)

    def spec(self) -> dict[str, Any]:
        return dict(self._described)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._built, name)
