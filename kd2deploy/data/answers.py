"""A teacher's answers that were brought along in a file: a row each, matched to the rows of the data.

A column holds a number for each class, as a list (in csv as JSON). Rows are matched by an `id`, or by what they hold.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.core.figures import count_of
from kd2deploy.data._columns import suggestion
from kd2deploy.data._labels import places
from kd2deploy.data.files import PARQUET, column_names, read, readable
from kd2deploy.data.prepare import content_hash
from kd2deploy.errors import DataError

Array = np.ndarray[Any, Any]
KINDS = ("logits", "probabilities")
LEAST = 1e-7
"""A probability of 0 counts as this much, so that its logarithm is a number. Ours: what rounds to 0 in seven digits."""
SUMS_TO_ONE = 0.01
"""How far from 1 a row's probabilities may add up: they may have been rounded to two digits. Ours."""


@dataclass(frozen=True)
class AnswersIn:
    """Where a file holds what."""

    file: Path
    id: str | None = None
    """The column by which rows are matched; None: by `fields`."""
    logits: str | None = None
    probabilities: str | None = None
    """The column of numbers; the one that is called so where both are None."""
    labels: tuple[str, ...] = ()
    """The classes in the order of the numbers; empty: that of the data."""


@dataclass(frozen=True)
class Answered:
    """What a file answers."""

    logits: Array
    """[N, C] float32, the classes in the order of the data."""
    at: Mapping[bytes, int]
    """The place of a row's answer, by its key."""
    kind: str
    """`logits` or `probabilities`, as they came."""


def answers_in(given: AnswersIn, classes: Sequence[str], fields: Mapping[str, Sequence[str]]) -> Answered:
    """The answers of a file for a task with these `classes`; `fields`, by the task's name for it, are the names that a
    field may have in the file. Raises DataError for whatever does not fit, in one line."""
    known = column_names(given.file)
    kind, column = column_of(given, known)
    named = {} if given.id is not None else {field: first(given, names, known) for field, names in fields.items()}
    if given.id is not None and given.id not in known:
        raise DataError(f"{given.file} has no column {given.id!r}, the `id`; {suggestion(given.id, known)}")
    table = columns_of(given.file, [column, *([given.id] if given.id is not None else named.values())])
    read = numbers(given.file, column, table[column], len(classes))
    found = in_order(given.labels, as_logits(f"{given.file}, column {column!r}", kind, read), classes)
    if given.id is not None:
        keys = [key_of_id(value) for value in table[given.id]]
    else:
        rows = zip(*(table[name] for name in named.values()), strict=True)
        keys = [key_of_row(dict(zip(named, row, strict=True)), list(named)) for row in rows]
    return Answered(found, places_by_key(given.file, keys, found), kind)


def column_of(given: AnswersIn, known: Sequence[str]) -> tuple[str, str]:
    """Of which kind the numbers are, and their column."""
    said = {"logits": given.logits, "probabilities": given.probabilities}
    wanted = {kind: column for kind, column in said.items() if column is not None}
    for kind, column in wanted.items() or ((kind, kind) for kind in KINDS if kind in known):
        if column not in known:
            raise DataError(f"{given.file} has no column {column!r}, the {kind}; {suggestion(column, known)}")
        return kind, column
    raise DataError(
        f"{given.file} has neither a column `logits` nor one `probabilities`; {suggestion('logits', known)} Name it "
        "under teacher.answers: `{file: ..., probabilities: COLUMN}`"
    )


def first(given: AnswersIn, names: Sequence[str], known: Sequence[str]) -> str:
    """The first of a field's names that the file has."""
    found = next((name for name in names if name in known), None)
    if found is None:
        wanted = " or ".join(repr(name) for name in dict.fromkeys(names))
        raise DataError(
            f"{given.file} has no column {wanted} to match its rows by; {suggestion(names[0], known)} Or name a column "
            "that tells the rows of both apart: teacher.answers, `id: COLUMN`"
        )
    return found


def columns_of(file: Path, wanted: Sequence[str]) -> dict[str, Any]:
    """Columns of a file: Arrow's own of a parquet file, lists of others. Raises DataError."""
    if file.suffix.lower() == PARQUET:
        import pyarrow.parquet

        with readable(file):
            try:
                table = pyarrow.parquet.read_table(file, columns=list(dict.fromkeys(wanted)))
            except pyarrow.ArrowException as error:
                raise DataError(f"{file} is not a parquet file that can be read: {error}") from error
        return {name: table.column(name) if name == wanted[0] else table.column(name).to_pylist() for name in wanted}
    rows = read(file, [])
    return {name: [row.get(name) for row in rows] for name in wanted}


def numbers(file: Path, column: str, given: Any, classes: int) -> Array:
    """[N, C] float32 of a column of lists. Raises DataError."""
    if not len(given):
        raise DataError(f"{file} has no rows; check the file")
    lists = [listed(one) for one in given] if isinstance(given, list) else None
    if lists is None:
        lists = straight(given)
        if isinstance(lists, np.ndarray) and lists.shape[1] == classes:
            return lists
        lists = list(lists)
    odd = [place for place, one in enumerate(lists) if one is None or len(one) != classes]
    if odd:
        one = lists[odd[0]]
        what = "no list of numbers" if one is None else f"{count_of(len(one), 'number')}"
        raise DataError(
            f"{file}: {places(odd)} {what} in column {column!r}, and the task has "
            f"{count_of(classes, 'class', 'classes')}; give each row one number for each class"
        )
    return np.asarray(lists, dtype=np.float32)


def straight(column: Any) -> Any:
    """[N, C] of Arrow's lists of one length, or plain lists where they differ or some lack."""
    import pyarrow

    kind = column.type
    whole = column.combine_chunks()
    if not (pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind) or pyarrow.types.is_fixed_size_list(kind)):
        return [listed(one) for one in column.to_pylist()]
    flat, rows = whole.flatten(), len(whole)
    lengths = set(pyarrow.compute.list_value_length(whole).unique().to_pylist())
    number = pyarrow.types.is_floating(flat.type) or pyarrow.types.is_integer(flat.type)
    if len(lengths) != 1 or None in lengths or flat.null_count or not number:
        return [listed(one) for one in column.to_pylist()]
    return flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(rows, -1)


def listed(value: Any) -> list[float] | None:
    """A list of numbers, or the JSON text of one; None for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list) or not all(type(one) in (int, float) for one in value):
        return None
    return [float(one) for one in value]


def as_logits(where: str, kind: str, found: Array) -> Array:
    """[N, C] numbers of a kind as logits: probabilities by their logarithms. Raises DataError for what are none."""
    odd = np.flatnonzero(~np.isfinite(found).all(axis=1)).tolist()
    if odd:
        raise DataError(f"{where}: {places(odd)} a number that is not finite; mend or remove it")
    if kind == "logits":
        return found
    odd = np.flatnonzero(((found < 0) | (found > 1)).any(axis=1) | (abs(found.sum(axis=1) - 1) > SUMS_TO_ONE)).tolist()
    if odd:
        shown = ", ".join(f"{one:.4g}" for one in found[odd[0]][:5])
        raise DataError(
            f"{where}: {places(odd)} probabilities that do not lie in 0..1 or do not add up to 1 ({shown}"
            f"{', ...' if found.shape[1] > 5 else ''}); if they are logits, say so: `logits: COLUMN` of a file, "
            "`returns: logits` of a function"
        )
    return np.asarray(np.log(np.maximum(found, LEAST)), dtype=np.float32)


def in_order(labels: Sequence[str], found: Array, classes: Sequence[str]) -> Array:
    """The answers to `labels` with the classes in the order of the data. Raises DataError where they are others."""
    if not labels:
        return found
    if sorted(labels) != sorted(classes):
        raise DataError(
            f"teacher.answers names the classes {', '.join(labels)}, and the data have {', '.join(classes)}; "
            "`labels` are those of the data in the order of the answers"
        )
    return found[:, [labels.index(name) for name in classes]]


def key_of_id(value: Any) -> bytes:
    return str(value).strip().encode()


def key_of_row(row: Mapping[str, Any], fields: Sequence[str]) -> bytes:
    return content_hash(dict(row), fields)[:16]


def places_by_key(file: Path, keys: Sequence[bytes], found: Array) -> dict[bytes, int]:
    """Raises DataError where a row is answered twice and not alike."""
    at: dict[bytes, int] = {}
    for place, key in enumerate(keys):
        known = at.setdefault(key, place)
        if known != place and not np.array_equal(found[known], found[place]):
            raise DataError(
                f"{file}: rows {known + 1} and {place + 1} are the same row with different answers; keep one of them"
            )
    return at


def matched(given: AnswersIn, answered: Answered, rows: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> Array:
    """[N] int64: the place of each row's answer, -1 where there is none."""
    if given.id is not None:
        keys = [key_of_id(row[given.id]) for row in rows]
    else:
        keys = [key_of_row(row, fields) for row in rows]
    return np.asarray([answered.at.get(key, -1) for key in keys], dtype=np.int64)
