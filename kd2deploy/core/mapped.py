"""Rows that stay in a file: Arrow's columns, memory-mapped, of which a row is made when it is asked for.

Several processes that read one file share its memory, and what is not looked at is not read. What is chosen of them,
renamed or put beside them is a view: nothing of the file is copied.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final, overload

import numpy as np

Array = np.ndarray[Any, Any]
Row = dict[str, Any]
Values = Sequence[Any] | Array
AT_ONCE = 1024
"""Rows that are made plain values together."""
INDEX = "index"


@final
class Mapped(Sequence[Row]):
    """Rows at `places` of Arrow's record batches, with the values `over` them, which are by row here.

    Each batch has its own columns: where one lacks a column, its rows lack the field. `numbered`: a row's `index` is
    its place here.
    """

    def __init__(
        self,
        batches: Sequence[Any],
        places: Array | None = None,
        over: Mapping[str, Values] | None = None,
        numbered: bool = False,
    ) -> None:
        self.batches = list(batches)
        self.ends = np.cumsum([batch.num_rows for batch in self.batches], dtype=np.int64)
        whole = int(self.ends[-1]) if len(self.ends) else 0
        self.places = np.arange(whole, dtype=np.int64) if places is None else np.asarray(places, dtype=np.int64)
        self.over, self.numbered = dict(over or {}), numbered

    @classmethod
    def open(cls, file: Path) -> "Mapped":
        """The rows of a file of Arrow's IPC format. Raises pyarrow's errors."""
        import pyarrow

        reader = pyarrow.ipc.open_file(pyarrow.memory_map(str(file)))
        return cls([reader.get_batch(at) for at in range(reader.num_record_batches)])

    @property
    def names(self) -> list[str]:
        """The fields that any row has, but its `index`."""
        own = (name for batch in self.batches for name in batch.schema.names)
        return [name for name in dict.fromkeys((*own, *self.over)) if name != INDEX]

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> "Mapped": ...
    def __getitem__(self, place: int | slice) -> "Row | Mapped":
        if isinstance(place, slice):
            return self.at(range(*place.indices(len(self))))
        place = range(len(self))[place]
        at = int(self.places[place])
        which = int(np.searchsorted(self.ends, at, side="right"))
        batch = self.batches[which]
        at -= int(self.ends[which]) - batch.num_rows
        own = {name: batch.column(name)[at].as_py() for name in batch.schema.names}
        return {**own, **{name: plain(values[place]) for name, values in self.over.items()}, **self.number(place)}

    def __iter__(self) -> Iterator[Row]:
        for start, which, local in self.runs():
            batch = self.batches[which]
            columns = {name: taken(batch.column(name), local) for name in batch.schema.names}
            columns |= {name: list(values[start : start + len(local)]) for name, values in self.over.items()}
            for at in range(len(local)):
                yield {**{name: plain(values[at]) for name, values in columns.items()}, **self.number(start + at)}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(one == found for one, found in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def number(self, place: int) -> Row:
        return {INDEX: place} if self.numbered else {}

    def runs(self) -> Iterator[tuple[int, int, Array]]:
        """The rows in order, as many at once as lie in one batch: their first place here, the batch, places in it."""
        which = np.searchsorted(self.ends, self.places, side="right")
        breaks = np.flatnonzero(np.diff(which)) + 1
        for begin, end in zip([0, *breaks.tolist()], [*breaks.tolist(), len(self)], strict=True):
            for start in range(begin, end, AT_ONCE):
                batch = int(which[start])
                before = int(self.ends[batch]) - self.batches[batch].num_rows
                yield start, batch, self.places[start : min(end, start + AT_ONCE)] - before

    def values(self, field: str) -> Iterator[Any]:
        """One field of all rows, None where a row has none."""
        if field == INDEX and self.numbered:
            yield from range(len(self))
        elif field in self.over:
            yield from map(plain, self.over[field])
        else:
            for _, which, local in self.runs():
                batch = self.batches[which]
                has = field in batch.schema.names
                yield from taken(batch.column(field), local) if has else [None] * len(local)

    def at(self, places: Sequence[int] | Array) -> "Mapped":
        """The rows at some places, in their order; those that are numbered keep their number."""
        chosen = np.asarray(places, dtype=np.int64)
        over: dict[str, Values] = {name: picked(values, chosen) for name, values in self.over.items()}
        if self.numbered:
            over[INDEX] = chosen
        return Mapped(self.batches, self.places[chosen], over)

    def having(self, field: str, values: Values) -> "Mapped":
        """The same rows with other values of a field."""
        return Mapped(self.batches, self.places, {**self.over, field: values}, self.numbered)

    def only(self, fields: Sequence[str]) -> "Mapped":
        """The same rows with no other fields."""
        batches = [batch.select([name for name in batch.schema.names if name in fields]) for batch in self.batches]
        over = {name: values for name, values in self.over.items() if name in (*fields, INDEX)}
        return Mapped(batches, self.places, over, self.numbered)

    def renamed(self, columns: Mapping[str, str]) -> "Mapped":
        """The same rows with the column `columns[field]` as each field; other columns stay, unless called like one."""
        import pyarrow

        def anew(batch: Any) -> Any:
            used = {field: column for field, column in columns.items() if column in batch.schema.names}
            others = [name for name in batch.schema.names if name not in columns and name not in columns.values()]
            found = {field: batch.column(column) for field, column in used.items()}
            found |= {name: batch.column(name) for name in others}
            return pyarrow.RecordBatch.from_pydict(found)

        return Mapped(list(map(anew, self.batches)), self.places, self.over, self.numbered)

    def numbered_anew(self) -> "Mapped":
        """The same rows, each with its place as `index`."""
        over = {name: values for name, values in self.over.items() if name != INDEX}
        return Mapped(self.batches, self.places, over, numbered=True)

    def and_then(self, other: "Mapped") -> "Mapped":
        """These rows, then others."""
        whole = int(self.ends[-1]) if len(self.ends) else 0
        names = self.over.keys() | other.over.keys()
        over = {name: [*(values_of(self, name)), *(values_of(other, name))] for name in sorted(names)}
        places = np.concatenate([self.places, other.places + whole])
        return Mapped([*self.batches, *other.batches], places, over, self.numbered)

    def write(self, file: Path) -> None:
        """The rows as a file that `open` reads, their numbers among them."""
        import pyarrow

        kinds = {name: pyarrow.array(list(map(plain, values))).type for name, values in self.over.items()}
        for batch in self.batches:
            for one in batch.schema:
                kinds.setdefault(one.name, one.type)
        if self.numbered:
            kinds.pop(INDEX, None)
        schema = pyarrow.schema([*kinds.items(), *([(INDEX, pyarrow.int64())] if self.numbered else [])])
        with pyarrow.OSFile(str(file), "wb") as stream, pyarrow.ipc.new_file(stream, schema) as writer:
            for start, which, local in self.runs():
                batch, rows = self.batches[which], range(start, start + len(local))
                arrays = [self.column(one.name, one.type, batch, local, rows) for one in schema]
                writer.write_batch(pyarrow.RecordBatch.from_arrays(arrays, schema=schema))

    def column(self, name: str, kind: Any, batch: Any, local: Array, rows: range) -> Any:
        """A field of the rows at the places `local` of a batch, as Arrow keeps it."""
        import pyarrow

        if name == INDEX and self.numbered:
            return pyarrow.array(rows, kind)
        if name in self.over:
            return pyarrow.array([plain(self.over[name][row]) for row in rows], kind)
        if name not in batch.schema.names:
            return pyarrow.nulls(len(local), kind)
        return batch.column(name).take(pyarrow.array(local)).cast(kind)


def plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def taken(column: Any, local: Array) -> list[Any]:
    """Values of a column at some places as plain ones."""
    import pyarrow

    first, last = int(local[0]), int(local[-1])
    if last - first + 1 == len(local) and bool((np.diff(local) == 1).all()):
        found: list[Any] = column.slice(first, len(local)).to_pylist()
    else:
        found = column.take(pyarrow.array(local)).to_pylist()
    return found


def picked(values: Values, places: Array) -> Values:
    return values[places] if isinstance(values, np.ndarray) else [values[place] for place in places.tolist()]


# of any rows ----------------------------------------------------------------------------------------------------


def values_of(rows: Iterable[Mapping[str, Any]], field: str) -> Iterator[Any]:
    """One field of rows, None where a row has none. No more of a mapped row is read."""
    return rows.values(field) if isinstance(rows, Mapped) else (row.get(field) for row in rows)


def rows_at(rows: Sequence[Row], places: Sequence[int]) -> Sequence[Row]:
    """The rows at some places, in their order."""
    return rows.at(places) if isinstance(rows, Mapped) else [rows[place] for place in places]


def having(rows: Sequence[Row], field: str, values: Sequence[Any]) -> Sequence[Row]:
    """Rows with other values of a field."""
    if isinstance(rows, Mapped):
        return rows.having(field, values)
    return [{**row, field: value} for row, value in zip(rows, values, strict=True)]


def joined(rows: Sequence[Row], others: Sequence[Row]) -> Sequence[Row]:
    """Rows, then others."""
    if not others or not rows:
        return rows or others
    if not isinstance(rows, Mapped) and not isinstance(others, Mapped):
        return [*rows, *others]
    one, other = (each if isinstance(each, Mapped) else in_memory(each) for each in (rows, others))
    return [*rows, *others] if one is None or other is None else one.and_then(other)


def in_memory(rows: Sequence[Row]) -> Mapped | None:
    """Rows of plain values as Arrow's; None for others."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    batch = batch_of({name: [row.get(name) for row in rows] for name in names})
    return None if batch is None else Mapped([batch])


def batch_of(columns: Mapping[str, Sequence[Any]], schema: Any = None) -> Any:
    """Columns of plain values as a record batch, of a `schema` where one is given; None where Arrow cannot hold them
    so."""
    import pyarrow

    try:
        if schema is None:
            return pyarrow.RecordBatch.from_pydict({name: pyarrow.array(column) for name, column in columns.items()})
        if set(columns) - set(schema.names):
            return None
        rows = max(map(len, columns.values()), default=0)
        whole = {name: columns.get(name, [None] * rows) for name in schema.names}
        return pyarrow.RecordBatch.from_pydict(whole, schema=schema)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):  # of which UnicodeError is one
        return None
