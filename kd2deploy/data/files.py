"""Data in files of one's own: csv, tsv, JSON lines, parquet, or a folder of pictures with one folder per class."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kd2deploy.core.mapped import Mapped, joined
from kd2deploy.data._columns import columns_in, renamed
from kd2deploy.data._encoding import encoding_of
from kd2deploy.data._mapped import AT_ONCE, MixedError, is_large, mapped, notes_of, of_objects, of_records
from kd2deploy.data._pictures import picture_rows
from kd2deploy.data._places import is_remote, same_columns
from kd2deploy.data._places import places_of as places_of
from kd2deploy.data._separated import Quoting, header_of, read_separated, separated
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

Row = dict[str, Any]
SEPARATED, JSON, PARQUET = (".csv", ".tsv"), (".jsonl", ".ndjson", ".json"), ".parquet"
FORMATS = ".csv, .tsv, .jsonl, .ndjson, .json, .parquet, or a folder with one folder of pictures per class"
MEDIA = ("image", "audio")
"""Fields whose values name files."""


def files(
    train: str,
    eval: str,
    *,
    validation: str | None = None,
    unlabelled: str | None = None,
    separator: str | None = None,
    quoting: Quoting = "auto",
    **columns: str,
) -> Tables:
    """Tables of one file (or picture folder) per split; `columns` say which column a field is read from.

    `files("train.csv", "dev.csv", text="sentence", label="class")`. Each may also be a pattern (`train/*.parquet`), a
    folder of such files, or either of them elsewhere (`s3://bucket/train/*.parquet`): their rows follow each other in
    the order of the files' names. A path in the column `image` or `audio` is read
    from the file's folder. `separator` and `quoting` are for csv and tsv files that say neither by their header nor
    their ending. Raises DataError that names the file and row.
    """
    paths = {"train": train, "eval": eval, "validation": validation, "unlabelled": unlabelled}
    given = {split: path for split, path in paths.items() if path is not None}
    found = {}
    notes: list[str] = []
    for split, path in given.items():
        wanted = {f: c for f, c in columns.items() if f != "label"} if split == "unlabelled" else columns
        found[split] = named_rows(path, wanted, notes, separator, quoting)
    return Tables(
        train=found["train"],
        eval=found["eval"],
        validation=found.get("validation"),
        unlabelled=found.get("unlabelled"),
        about=", ".join(f"{split}: {path}" for split, path in given.items()),
        names=given,
        warnings=tuple(dict.fromkeys(notes)),
    )


def named_rows(
    name: str,
    columns: Mapping[str, str],
    notes: list[str],
    separator: str | None = None,
    quoting: Quoting = "auto",
) -> Sequence[Row]:
    """The rows of all files that a name stands for, with the columns under their field's name. Raises DataError."""
    shards = places_of(name)
    if len(shards) > 1:
        same_columns(shards, column_names)
    found: Sequence[Row] = []
    for shard in shards:
        rows = renamed(read(shard, notes, separator, quoting), columns, str(shard))
        if is_remote(name) and any(isinstance(rows[0].get(field), str) for field in MEDIA):
            raise DataError(f"{name}: what its rows name by path is not fetched with it; bring all of it here")
        found = joined(found, with_media(rows, shard))
    return found


def read(path: Path, notes: list[str], separator: str | None = None, quoting: Quoting = "auto") -> Sequence[Row]:
    """The rows of a file, by its ending; what a person should know of the reading is added to `notes`. Those of a large
    file are mapped into memory.

    Raises DataError.
    """
    if path.is_dir():
        return picture_rows(path, notes)
    with readable(path) as ending:
        if is_large(path):
            try:
                return mapped_rows(path, ending, notes, separator, quoting)
            except MixedError:
                notes.append(f"{path}: a column holds values of several kinds, so all its rows are held in memory")
        if ending in SEPARATED:
            return separated(path, notes, separator, quoting)
        return parquet(path) if ending == PARQUET else list(json_lines(path))


def mapped_rows(path: Path, ending: str, notes: list[str], separator: str | None, quoting: Quoting) -> Mapped:
    """The same rows as an Arrow file. Raises DataError, MixedError."""
    how = [separator, quoting] if ending in SEPARATED else []

    def reading(said: list[str], keep: Callable[[Iterator[Any]], None]) -> None:
        if ending in SEPARATED:
            read_separated(path, said, lambda header, records: keep(of_records(header, records)), separator, quoting)
        else:
            keep(parquet_batches(path) if ending == PARQUET else of_objects(json_lines(path)))

    found = mapped(path, how, reading)
    notes += notes_of(path, how)
    return found


def column_names(path: Path) -> list[str]:
    """The columns of a file: a header's or a schema's, or those of all JSON objects. Raises DataError."""
    with readable(path) as ending:
        if ending in SEPARATED:
            return header_of(path)
        return schema_of(path) if ending == PARQUET else columns_in(json_lines(path))


@contextmanager
def readable(path: Path) -> Iterator[str]:
    """The ending of a file that is there and known; what goes wrong with its bytes is raised as DataError."""
    ending = path.suffix.lower()
    if ending not in (*SEPARATED, *JSON, PARQUET):
        raise DataError(f"{path}: files are read as {FORMATS}")
    if not path.is_file():
        raise DataError(f"{path} does not exist (read from {Path.cwd()}); check the path under `data`")
    try:
        yield ending
    except UnicodeDecodeError as error:
        known = error.encoding.upper()
        raise DataError(f"{path} is not {known} ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def json_lines(path: Path) -> Iterator[Row]:
    """One JSON object per line; a file that is one list of objects is read too."""
    with path.open(encoding=encoding_of(path)) as stream:
        if path.suffix.lower() == ".json":
            try:
                whole = json.load(stream)
            except (ValueError, RecursionError):
                whole = None  # JSON lines under the name .json
            if isinstance(whole, list) and all(isinstance(row, dict) for row in whole):
                yield from whole
                return
            stream.seek(0)
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path} line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise DataError(f"{path} line {number} is not an object with named fields")
            yield row


def parquet(path: Path) -> list[Row]:
    return [row for batch in parquet_batches(path) for row in batch.to_pylist()]


def parquet_batches(path: Path) -> Iterator[Any]:
    """Arrow's record batches. Raises DataError."""
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as opened:
            yield from opened.iter_batches(AT_ONCE)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a parquet file that can be read: {error}") from error


def schema_of(path: Path) -> list[str]:
    import pyarrow.parquet

    try:
        return list(pyarrow.parquet.read_schema(path).names)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a parquet file that can be read: {error}") from error


def with_media(rows: Sequence[Row], path: Path) -> Sequence[Row]:
    """Relative paths of pictures and audio become paths from the file's own folder."""
    if path.is_dir() or (isinstance(rows, Mapped) and not set(MEDIA) & set(rows.names)):
        return rows
    return [
        {**row, **{field: str(path.parent / row[field]) for field in MEDIA if isinstance(row.get(field), str)}}
        for row in rows
    ]
