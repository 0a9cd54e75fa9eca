"""The reader of a task: from rows to what its networks read, in training and at the border of a deployed file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kd2deploy.core.port import Array, Features, Row
from kd2deploy.errors import DataError

if TYPE_CHECKING:  # what reads rows for a deployed file needs no torch
    from kd2deploy.core.step import Batch

Prepare = Callable[[Sequence[Row]], dict[str, Array]]
"""Rows of one request to a session's inputs."""


@dataclass(frozen=True)
class ServerReader:
    """A python model of NVIDIA Triton that makes a task's `inputs` of the strings that clients send."""

    fields: tuple[str, ...]
    """Names of the strings of one row."""
    code: str
    files: tuple[str, ...]
    """The bundle's files that it opens beside itself."""


@dataclass(frozen=True)
class SizeUnit:
    """What people measure the size of an input in, such as seconds of audio: latency is told per unit too."""

    one: str
    """As in "ms per megapixel"."""
    many: str
    elements: float
    """So many elements of an input's largest array are one."""
    lasts_ms: float = 0.0
    """How long it lasts where it is a stretch of time: latency over that is the real-time factor. Else 0."""


@dataclass(frozen=True)
class Reading:
    """How much of some rows a network reads, for a person: figures by name, and a sentence for each that is too low."""

    figures: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


class Reader(ABC):
    """How rows become a network's inputs. What it reads them by (a tokenizer, a processor) lies in a network's folder.

    What it does for a deployed file imports no torch.
    """

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """What a row's fields are usually called in files, so that columns that nobody named are found."""

    counted_in: ClassVar[str] = "elements"
    """What `length` counts, as people call it."""

    named: ClassVar[tuple[str, ...]] = ()
    """Those of the fields whose values may name a file, as text; rows then hold them as paths."""

    augments: ClassVar[type | None] = None
    """The dataclass of what a recipe may say under `augment`; None where rows are never augmented."""

    drawn_always: ClassVar[bool] = False
    """Whether a training reads a part of each row, drawn anew in every epoch: where a recipe names no `augment`, by the
    defaults of `augments`."""

    scored_alone: ClassVar[bool] = False
    """Whether rows are scored one by one, because padding one to the size of another changes its answer."""

    @classmethod
    def fields(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """The fields that a row must have beside `label`, for a task with these arguments. Where there are none, rows
        and labels are left as they were read, which suits a task with a target of its own alone."""
        return ()

    @classmethod
    def implied(cls, columns: Mapping[str, str | None]) -> Mapping[str, Any]:
        """Arguments of the task that follow from which of its fields have a column."""
        return {}

    @classmethod
    def flaw(cls, value: Any) -> str:
        """Why the value of one of `fields` cannot be read; empty for one that can."""
        return ""

    @classmethod
    def target_flaw(cls, label: Any) -> str:
        """Why a row's label cannot be learnt, for a task with a target of its own; empty for one that can."""
        return ""

    @classmethod
    def classes_in(cls, label: Any) -> tuple[str, ...]:
        """The classes that a row's label names, for a task with `own_classes`."""
        return ()

    @property
    def limits(self) -> Mapping[str, int]:
        """The largest size of each of the task's dynamic axes that the reader bounds."""
        return {}

    # rows ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def row(self, given: str, other: str | None = None) -> Row:
        """One unlabelled row out of what a person typed: a text (and the second of a pair), or a file's path."""

    def reading(self, rows: Sequence[Row], folder: Path) -> Reading:
        """How much of the rows the network in `folder` reads: of many before a training, of one before its answer."""
        return Reading()

    @abstractmethod
    def encode(self, rows: Sequence[Row], folder: Path) -> Sequence[Features]:
        """Rows as the network in `folder` reads them.

        They are kept for as long as they are trained on: in a `Table` where they are many and small.
        """

    def drawing(self, rows: Sequence[Row], folder: Path) -> Sequence[Features]:
        """The same as a `Drawing`, where the task has something that `augments`: read when they are asked for."""
        return self.encode(rows, folder)

    def extremes(self) -> list[Row]:
        """Two rows without a label, of the least and of the greatest values that inputs have; none where inputs are no
        values between two."""
        return []

    def rows_of(self, made: Array, folder: Path) -> list[Row]:
        """Rows without a label that the network in `folder` reads as inputs [N, ...] in 0..1, from the least value to
        the greatest, or as nearly as rows hold them. Raises DataError where inputs are no values between two."""
        raise DataError("rows of this task are not made out of a network's inputs; name other data")

    @abstractmethod
    def length(self, features: Features) -> int:
        """What rows are grouped by so that little is padded; 1 where all are equal."""

    def size_unit(self, folder: Path) -> SizeUnit | None:
        """A unit of size for inputs of the network in `folder`; None where people know no other than `counted_in`."""
        return None

    # batches ------------------------------------------------------------------------------------------------

    @abstractmethod
    def collate(self, features: Sequence[Features]) -> Batch:
        """One batch, padded as needed; keys under `teacher.` are padded by the teacher's rules.

        `labels` are those of its rows: a class, or one 0 or 1 for each, is -100 where a row has no label, a number nan.
        `index` are the rows' own.
        """

    @abstractmethod
    def feed(self, features: Sequence[Features]) -> dict[str, Array]:
        """One batch as a session reads it: exactly the names of the task's `inputs`."""

    # requests -----------------------------------------------------------------------------------------------

    def preparing(self, folder: Path) -> Prepare:
        """What makes a request of its rows, as a server does it: what `folder` holds is opened once, here."""
        return lambda rows: self.feed(self.encode(rows, folder))

    def sent(self, row: Row, place: Path) -> Row:
        """The row as a client sends it, without its label; what should be a file and is none gets one at `place`, which
        has no ending yet."""
        return {**row, "label": None}

    # what lies in a network's folder ------------------------------------------------------------------------

    def check_inputs(self, folder: Path) -> None:  # noqa: B027 (for most networks nothing can be wrong)
        """Raise ModelError, before any training, where what reads the rows does not fit the network beside it."""

    def reads_alike(self, one: Path, other: Path) -> bool:
        """Whether the networks in two folders read the same inputs from the same rows."""
        return True

    def write_inputs(self, folder: Path) -> None:  # noqa: B027 (most networks come with their tokenizer)
        """Say in a new network's folder how its inputs are read, where nothing there says so yet."""

    def write_as_judged(self, folder: Path) -> None:  # noqa: B027 (a task of one's own may have nothing to say)
        """Say in a bundle's files how its inputs are read, so that every client reads them as they were judged."""

    def served(self) -> Reader:
        """The same for a bundle's folder, by what `write_as_judged` wrote there: it need not wait for the libraries
        that the network was trained with."""
        return self

    def server_reader(self) -> ServerReader | None:
        """What reads rows on an inference server; None where clients send `inputs` themselves."""
        return None
