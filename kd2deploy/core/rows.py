"""Rows as files: a line of JSON each, pictures and other arrays beside them."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.core.mapped import Mapped
from kd2deploy.core.reading import inside, plain_json, text_of
from kd2deploy.errors import DataError

Row = dict[str, Any]
ROWS, MAPPED = "rows.jsonl", "rows.arrow"
LARGEST_ROWS_MB = 4000
REMEDY = "copy or write the folder again"


def write_rows(rows: Sequence[Mapping[str, Any]], folder: Path, *, copies: bool = True) -> None:
    """Rows as JSON lines; pictures, encoded ones and recordings too, and other arrays as files beside them. Mapped rows
    as an Arrow file."""
    folder.mkdir(parents=True)
    if isinstance(rows, Mapped):
        rows.write(folder / MAPPED)
        return
    together = stacked(rows, folder)
    with (folder / ROWS).open("w", encoding="utf-8") as stream:
        for place, row in enumerate(rows):
            written = {
                name: {"array": together[name], "at": place}
                if name in together
                else _written(value, name, folder, place, copies)
                for name, value in row.items()
            }
            stream.write(json.dumps(written) + "\n")


def stacked(rows: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, str]:
    """Files of the fields whose values are arrays of one shape and type in every row, by field."""
    found = {}
    for name, value in (rows[0] if rows else {}).items():
        if not isinstance(value, np.ndarray):
            continue
        alike = (value.dtype, value.shape)
        if all(isinstance(row.get(name), np.ndarray) and (row[name].dtype, row[name].shape) == alike for row in rows):
            found[name] = f"{name}.npy"
            np.save(folder / found[name], np.stack([row[name] for row in rows]), allow_pickle=False)
    return found


def read_rows(folder: Path, *, copies: bool = True) -> Sequence[Row]:
    """Rows as `write_rows` wrote them; pictures come back as arrays or as paths, and mapped rows mapped. Raises
    DataError, TrustError."""
    if (folder / MAPPED).is_file():
        return mapped_in(inside(folder, MAPPED))
    path, rows = folder / ROWS, []
    arrays: dict[Path, Any] = {}
    for number, line in enumerate(text_of(path, DataError, most_mb=LARGEST_ROWS_MB).splitlines(), 1):
        row = plain_json(line, f"{path} line {number}", DataError, REMEDY)
        if not isinstance(row, dict):
            raise DataError(f"{path} line {number} is no row; {REMEDY}")
        rows.append({name: _read(value, folder, arrays, copies) for name, value in row.items()})
    return rows


def mapped_in(file: Path) -> Mapped:
    """Raises DataError."""
    import pyarrow

    try:
        return Mapped.open(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a file of rows that can be read ({error}); {REMEDY}") from None


def _written(value: Any, name: str, folder: Path, place: int, copies: bool) -> Any:
    if is_plain(value):
        return {"plain": value} if isinstance(value, dict) else value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        if not copies:
            return {"path": str(value.absolute())}
        to = f"{place:06d}-{name}{value.suffix}"
        shutil.copyfile(value, folder / to)
        return {"file": to}
    if isinstance(value, bytes):  # an encoded picture or recording
        to = f"{place:06d}-{name}.bin"
        (folder / to).write_bytes(value)
        return {"file": to}
    if type(value).__module__.startswith("PIL."):
        from PIL import ImageOps

        to = f"{place:06d}-{name}.tiff"  # which holds every mode; turned upright, as readers would turn it
        ImageOps.exif_transpose(value).save(folder / to, exif=b"")
        return {"file": to}
    to = f"{place:06d}-{name}.npy"
    np.save(folder / to, np.asarray(value), allow_pickle=False)
    return {"array": to}


def is_plain(value: Any) -> bool:
    """Whether JSON holds it as it is: lists and objects by name, of texts, numbers and their like, as boxes of objects
    are."""
    if isinstance(value, list):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(name, str) and is_plain(one) for name, one in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def _read(value: Any, folder: Path, arrays: dict[Path, Any], copies: bool) -> Any:
    if not isinstance(value, dict):
        return value
    if "plain" in value:
        return value["plain"]
    if "path" in value and not copies:
        return Path(value["path"])
    if "file" in value:
        return inside(folder, value["file"])
    path = inside(folder, value.get("array"))
    try:
        if "at" not in value:
            return np.load(path, allow_pickle=False)
        if path not in arrays:
            arrays[path] = np.load(path, allow_pickle=False)
        return arrays[path][value["at"]]
    except (OSError, ValueError, EOFError, IndexError, TypeError) as error:
        raise DataError(f"{path} is not an array that can be read ({error}); {REMEDY}") from error
