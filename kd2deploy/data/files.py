"""Data in files of one's own: csv, tsv, JSON lines, parquet, or a folder of pictures with one folder per class."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kd2deploy.data._columns import columns_in, renamed
from kd2deploy.data._encoding import encoding_of
from kd2deploy.data._pictures import picture_rows
from kd2deploy.data._separated import Quoting, header_of, separated
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

    `files("train.csv", "dev.csv", text="sentence", label="class")`. A path in the column `image` or `audio` is read
    from the file's folder. `separator` and `quoting` are for csv and tsv files that say neither by their header nor
    their ending. Raises DataError that names the file and row.
    """
    paths = {"train": train, "eval": eval, "validation": validation, "unlabelled": unlabelled}
    given = {split: Path(path) for split, path in paths.items() if path is not None}
    found = {}
    notes: list[str] = []
    for split, path in given.items():
        wanted = {f: c for f, c in columns.items() if f != "label"} if split == "unlabelled" else columns
        rows = read(path, notes, separator, quoting)
        found[split] = with_media(renamed(rows, wanted, str(path)), path)
    return Tables(
        train=found["train"],
        eval=found["eval"],
        validation=found.get("validation"),
        unlabelled=found.get("unlabelled"),
        about=", ".join(f"{split}: {path}" for split, path in given.items()),
        names={split: str(path) for split, path in given.items()},
        warnings=tuple(dict.fromkeys(notes)),
    )


def read(path: Path, notes: list[str], separator: str | None = None, quoting: Quoting = "auto") -> list[Row]:
    """The rows of a file, by its ending; what a person should know of the reading is added to `notes`.

    Raises DataError.
    """
    if path.is_dir():
        return picture_rows(path, notes)
    with readable(path) as ending:
        if ending in SEPARATED:
            return separated(path, notes, separator, quoting)
        return parquet(path) if ending == PARQUET else list(json_lines(path))


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
    import pyarrow.parquet

    try:
        rows: list[Row] = pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a parquet file that can be read: {error}") from error
    return rows


def schema_of(path: Path) -> list[str]:
    import pyarrow.parquet

    try:
        return list(pyarrow.parquet.read_schema(path).names)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a parquet file that can be read: {error}") from error


def with_media(rows: list[Row], path: Path) -> list[Row]:
    """Relative paths of pictures and audio become paths from the file's own folder."""
    if path.is_dir():
        return rows
    return [
        {**row, **{field: str(path.parent / row[field]) for field in MEDIA if isinstance(row.get(field), str)}}
        for row in rows
    ]
