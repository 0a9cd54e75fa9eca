"""Data in files of one's own: csv, tsv, JSON lines, parquet, or a folder of pictures with one folder per class."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from kd2deploy.data._columns import renamed
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

Row = dict[str, Any]
FORMATS = ".csv, .tsv, .jsonl, .json, .parquet, or a folder with one folder of pictures per class"
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


def files(
    train: str, eval: str, *, validation: str | None = None, unlabelled: str | None = None, **columns: str
) -> Tables:
    """Tables of one file (or picture folder) per split; `columns` say which column a field is read from.

    `files("train.csv", "dev.csv", text="sentence", label="class")`. A path in the column `image` is read from the
    file's folder. Raises DataError that names the file and row.
    """
    paths = {"train": train, "eval": eval, "validation": validation, "unlabelled": unlabelled}
    given = {split: Path(path) for split, path in paths.items() if path is not None}
    found = {}
    for split, path in given.items():
        wanted = {f: c for f, c in columns.items() if f != "label"} if split == "unlabelled" else columns
        found[split] = with_pictures(renamed(read(path), wanted, str(path)), path)
    return Tables(
        train=found["train"],
        eval=found["eval"],
        validation=found.get("validation"),
        unlabelled=found.get("unlabelled"),
        about=", ".join(f"{split}: {path}" for split, path in given.items()),
        names={split: str(path) for split, path in given.items()},
    )


def read(path: Path) -> list[Row]:
    """The rows of a file, by its extension. Raises DataError."""
    if path.is_dir():
        return list(picture_rows(path))
    readers: dict[str, Callable[[Path], Iterable[Row]]] = {
        ".csv": separated,
        ".tsv": separated,
        ".jsonl": json_lines,
        ".json": json_lines,
        ".parquet": parquet,
    }
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: files are read as {FORMATS}")
    if not path.is_file():
        raise DataError(f"{path} does not exist (read from {Path.cwd()}); check the path under `data`")
    try:
        return list(readers[path.suffix.lower()](path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def separated(path: Path) -> Iterator[Row]:
    """Rows of a csv or tsv file with a header; an empty field is None."""
    csv.field_size_limit(2**31 - 1)  # a text longer than the module's 128 kB default is still a text
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        try:
            header = next(reader, [])
            if len(set(header)) < len(header):
                raise DataError(f"{path} names a column twice: {', '.join(header)}")
            for values in reader:
                if not values:
                    continue
                if len(values) != len(header):
                    raise DataError(
                        f"{path} line {reader.line_num}: {len(values)} fields where the header has {len(header)}; "
                        "quote fields that hold the separator"
                    )
                yield {name: value if value != "" else None for name, value in zip(header, values, strict=True)}
        except csv.Error as error:
            raise DataError(f"{path} line {reader.line_num}: {error}") from error


def json_lines(path: Path) -> Iterator[Row]:
    """One JSON object per line; a file that is one list of objects is read too."""
    with path.open(encoding="utf-8-sig") as stream:
        if path.suffix == ".json":
            try:
                whole = json.load(stream)
            except ValueError:
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
            except ValueError as error:
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


def picture_rows(folder: Path) -> Iterator[Row]:
    """`image` and `label` of a folder that has one folder of pictures per class; the folder's name is the label."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    if not classes:
        yield from ({"image": str(file)} for file in sorted(folder.iterdir()) if file.suffix.lower() in PICTURES)
    for place in classes:
        for file in sorted(place.rglob("*")):
            if file.suffix.lower() in PICTURES:
                yield {"image": str(file), "label": place.name}


def with_pictures(rows: list[Row], path: Path) -> list[Row]:
    """Relative picture paths become paths from the file's own folder."""
    if path.is_dir() or "image" not in rows[0]:
        return rows
    return [{**row, "image": str(path.parent / row["image"])} if isinstance(row["image"], str) else row for row in rows]
