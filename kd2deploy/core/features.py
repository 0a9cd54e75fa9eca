"""Encoded rows kept compactly, out of which a row is made when it is asked for: columns of numbers, or what was read.

A million texts as dictionaries of int64 arrays take gigabytes, the numbers in them a tenth of that.
"""

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, final, overload

import numpy as np

from kd2deploy.core.port import TEACHER_PREFIX, Array, Features

FLAT, ENDS, SAME = ".flat", ".ends", "same.json"
"""How the files of a table are named."""
OWN = ("labels", "index")
"""What a row has once, whichever network reads it."""


class Lazy(Sequence[Features]):
    """Rows that are made one by one, each time anew; a slice is a list of them."""

    @abstractmethod
    def row(self, place: int) -> Features:
        """The row at a place in 0..len-1."""

    @overload
    def __getitem__(self, place: int) -> Features: ...
    @overload
    def __getitem__(self, place: slice) -> list[Features]: ...
    def __getitem__(self, place: int | slice) -> Features | list[Features]:
        if isinstance(place, slice):
            return [self.row(each) for each in range(*place.indices(len(self)))]
        return self.row(range(len(self))[place])

    def __iter__(self) -> Iterator[Features]:
        return (self.row(place) for place in range(len(self)))


class Draw(NamedTuple):
    """All that decides how a row is augmented: not its batch, the process, or what was drawn before."""

    seed: int
    epoch: int
    row: int
    """Its place in the training set."""
    number: int = 0
    """0: as it is trained on; other numbers are other draws of the same row in the same epoch."""


class Drawing(Lazy):
    """Rows of which each can be had as it stands, or augmented."""

    @abstractmethod
    def drawn(self, place: int, augmentation: Any, draw: Draw) -> Features:
        """The row at a place, augmented. Two networks' readings of a row get the same draw, and so see the same."""

    @abstractmethod
    def label(self, place: int) -> Any:
        """The label of the row at a place, which is not read for it."""

    def check(self, augmentation: Any, places: Sequence[int] | None = None) -> None:
        """Raise DataError where a row (one at `places`, or any) cannot be drawn so: asked before a training."""


def drawn(rows: Sequence[Features], place: int, augmentation: Any, draw: Draw) -> Features:
    """A row of any sequence, augmented. Raises ValueError where rows are kept as a network reads them."""
    if not isinstance(rows, Drawing):
        raise ValueError("rows that are kept as a network reads them cannot be augmented; read them by Reader.drawing")
    return rows.drawn(place, augmentation, draw)


def label_of(rows: Sequence[Features], place: int) -> Any:
    """A row's label; None where it has none."""
    return rows.label(place) if isinstance(rows, Drawing) else rows[place].get("labels")


@dataclass(frozen=True)
class Ragged:
    """Whole numbers of rows of different lengths, one row behind the other; each is read as int64."""

    flat: Array
    ends: Array
    """[N + 1]: where each row begins, and where the last one ends."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], largest: int) -> "Ragged":
        """In the smallest unsigned type that holds `largest`."""
        lengths = [len(row) for row in rows]
        flat = np.fromiter(chain.from_iterable(rows), np.min_scalar_type(largest), sum(lengths))
        return cls(flat, np.cumsum([0, *lengths]))

    @classmethod
    def joined(cls, parts: Sequence["Ragged"]) -> "Ragged":
        lengths = np.concatenate([np.diff(part.ends) for part in parts])
        return cls(np.concatenate([part.flat for part in parts]), np.cumsum([0, *lengths]))

    def __getitem__(self, place: int) -> Array:
        return self.flat[self.ends[place] : self.ends[place + 1]].astype(np.int64)


@final
class Table(Lazy):
    """Rows out of columns: [N, ...] arrays and ragged ones; `same` stands in every row."""

    def __init__(self, columns: Mapping[str, Ragged | Array], same: Mapping[str, Any], rows: int) -> None:
        self.columns, self.same, self.rows = dict(columns), dict(same), rows

    def save(self, folder: Path) -> None:
        """The rows as files in a folder that is there."""
        for name, column in self.columns.items():
            parts = {FLAT: column.flat, ENDS: column.ends} if isinstance(column, Ragged) else {"": column}
            for ending, array in parts.items():
                np.save(folder / f"{name}{ending}.npy", array, allow_pickle=False)
        (folder / SAME).write_text(json.dumps({"rows": self.rows, "same": self.same}))

    @classmethod
    def open(cls, folder: Path) -> "Table":
        """What `save` wrote, mapped into memory: several processes share it, and what is not looked at is not read."""
        said = json.loads((folder / SAME).read_text())
        mapped = {file.stem: np.asarray(np.load(file, mmap_mode="r")) for file in sorted(folder.glob("*.npy"))}
        columns: dict[str, Ragged | Array] = {
            name: array for name, array in mapped.items() if not name.endswith((FLAT, ENDS))
        }
        for name in (one.removesuffix(FLAT) for one in mapped if one.endswith(FLAT)):
            columns[name] = Ragged(mapped[name + FLAT], mapped[name + ENDS])
        return cls(columns, said["same"], said["rows"])

    def having(self, **columns: Ragged | Array) -> "Table":
        """The same rows with more columns; what both hold is shared."""
        return Table({**self.columns, **columns}, self.same, self.rows)

    def __len__(self) -> int:
        return self.rows

    def row(self, place: int) -> Features:
        return {**{name: plain(column[place]) for name, column in self.columns.items()}, **self.same}


@final
class Selection(Drawing):
    """Rows of another sequence at `places`, all without them, their `index` being their place here.

    Where the `teacher` reads other inputs out of the same rows, these stand beside the student's own.
    """

    def __init__(
        self,
        rows: Sequence[Features],
        places: Sequence[int] | None = None,
        teacher: Sequence[Features] | None = None,
    ) -> None:
        self.rows, self.teacher = rows, teacher
        self.places = range(len(rows)) if places is None else np.asarray(places, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.places)

    def row(self, place: int) -> Features:
        at = int(self.places[place])
        return beside(self.rows[at], None if self.teacher is None else self.teacher[at], place)

    def drawn(self, place: int, augmentation: Any, draw: Draw) -> Features:
        at = int(self.places[place])
        other = None if self.teacher is None else drawn(self.teacher, at, augmentation, draw)
        return beside(drawn(self.rows, at, augmentation, draw), other, place)

    def label(self, place: int) -> Any:
        return label_of(self.rows, int(self.places[place]))

    def check(self, augmentation: Any, places: Sequence[int] | None = None) -> None:
        own = [int(self.places[place]) for place in (range(len(self)) if places is None else places)]
        for rows in (self.rows, self.teacher):
            if isinstance(rows, Drawing):
                rows.check(augmentation, own)


def beside(own: Features, teacher: Features | None, place: int) -> Features:
    """A row with the teacher's inputs beside the student's, numbered by its place."""
    others = {} if teacher is None else teacher
    return {
        **own,
        **{TEACHER_PREFIX + name: value for name, value in others.items() if name not in OWN},
        "index": place,
    }


def plain(value: Any) -> Any:
    """A number of a column as Python's own; arrays stay."""
    return value.item() if isinstance(value, np.generic) else value
