"""Splits as an artifact: what a run trains on, chooses by and is judged by, with a hash, written and read here alone.

A folder of splits holds `splits.json` and, for each split, its rows as JSON lines. Pictures and other arrays lie beside
them: arrays of one shape together in a file for each field, others one by one. Picture files are copied where the
folder is to go elsewhere (a pack), and named where it stays on this machine.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.core.artifact import sha256_of
from kd2deploy.core.reading import inside, object_of, plain_json, text_of
from kd2deploy.core.written import aside, put_in_place, write_text
from kd2deploy.errors import DataError

Row = dict[str, Any]
PARTS = ("train", "validation", "eval")
ABOUT, ROWS = "splits.json", "rows.jsonl"
LARGEST_ROWS_MB = 4000
MOST_KNOWN = 8
"""Splits that a process keeps in memory."""
REMEDY = "copy or write the folder again"


@dataclass(frozen=True)
class Splits:
    """What a run trains on (`train`), chooses by (`validation`) and is judged by (`eval`)."""

    train: list[Row]
    """Labelled rows, then those whose label is None."""
    validation: list[Row]
    eval: list[Row]
    labels: tuple[str, ...]
    """The classes in the order of the networks' outputs; empty for regression."""
    warnings: tuple[str, ...]
    overlap: int
    """Evaluation rows whose input also stands in the training or validation rows."""
    sha256: str
    """Hash of all rows in their order."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What else a person may want to know of the rows, by name."""

    @property
    def labelled(self) -> list[Row]:
        """The training rows that have a label."""
        return [row for row in self.train if not lacks_label(row)]

    @property
    def unlabelled(self) -> list[Row]:
        """Those that have none."""
        return [row for row in self.train if lacks_label(row)]


def lacks_label(row: Mapping[str, Any]) -> bool:
    """Whether a row stands for one whose label nobody gave; a task without labels has rows that know no such field."""
    return "label" in row and row["label"] is None


def write_splits(splits: Splits, folder: Path, *, copies: bool) -> Path:
    """The splits in a folder that is there whole or not at all. `copies`: with the files that rows name."""
    made = aside(folder)
    for part in PARTS:
        write_rows(getattr(splits, part), made / part, copies=copies)
    said = {name: value for name, value in asdict(without_rows(splits)).items() if name not in PARTS}
    write_text(made / ABOUT, json.dumps({**said, "rows_sha256": rows_sha256(made)}, indent=1) + "\n")
    put_in_place(made, folder)
    return folder


def read_splits(folder: Path, *, copies: bool) -> Splits:
    """What `write_splits` wrote. `copies`: rows must not name files outside of the folder.

    Raises DataError where a file is not as it was, TrustError for a name that leads out.
    """
    said = object_of(folder / ABOUT, DataError, REMEDY)
    if said.get("rows_sha256") != rows_sha256(folder):
        raise DataError(f"the rows in {folder} are not as they were written; {REMEDY}")
    try:
        return Splits(
            **{part: read_rows(folder / part, copies=copies) for part in PARTS},
            labels=tuple(said["labels"]),
            warnings=tuple(said["warnings"]),
            overlap=said["overlap"],
            sha256=said["sha256"],
            details=dict(said["details"]),
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / ABOUT} was not written by kd2deploy ({error}); {REMEDY}") from None


_known: dict[Path, Splits] = {}


def remember(folder: Path, splits: Splits) -> None:
    """Let `splits_in` give these for a folder, whether or not they were written there."""
    while len(_known) >= MOST_KNOWN:
        del _known[next(iter(_known))]
    _known[folder] = splits


def splits_in(folder: Path) -> Splits:
    """`read_splits` of a run's own folder, once per process: its stages read the same ones."""
    if folder not in _known:
        remember(folder, read_splits(folder, copies=False))
    return _known[folder]


def rows_sha256(folder: Path) -> str:
    return "".join(sha256_of(folder / part)[:16] for part in PARTS)


def without_rows(splits: Splits) -> Splits:
    """The splits without their rows."""
    return Splits([], [], [], splits.labels, splits.warnings, splits.overlap, splits.sha256, splits.details)


def write_rows(rows: Sequence[Mapping[str, Any]], folder: Path, *, copies: bool = True) -> None:
    """Rows as JSON lines; pictures and other arrays as files beside them."""
    folder.mkdir(parents=True)
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


def read_rows(folder: Path, *, copies: bool = True) -> list[Row]:
    """Rows as `write_rows` wrote them; pictures come back as arrays or as paths. Raises DataError, TrustError."""
    path, rows = folder / ROWS, []
    arrays: dict[Path, Any] = {}
    for number, line in enumerate(text_of(path, DataError, most_mb=LARGEST_ROWS_MB).splitlines(), 1):
        row = plain_json(line, f"{path} line {number}", DataError, REMEDY)
        if not isinstance(row, dict):
            raise DataError(f"{path} line {number} is no row; {REMEDY}")
        rows.append({name: _read(value, folder, arrays, copies) for name, value in row.items()})
    return rows


def _written(value: Any, name: str, folder: Path, place: int, copies: bool) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        if not copies:
            return {"path": str(value.absolute())}
        to = f"{place:06d}-{name}{value.suffix}"
        shutil.copyfile(value, folder / to)
        return {"file": to}
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, int) for one in value)):
        return value
    if type(value).__module__.startswith("PIL."):
        from PIL import ImageOps

        to = f"{place:06d}-{name}.tiff"  # which holds every mode; turned upright, as readers would turn it
        ImageOps.exif_transpose(value).save(folder / to, exif=b"")
        return {"file": to}
    to = f"{place:06d}-{name}.npy"
    np.save(folder / to, np.asarray(value), allow_pickle=False)
    return {"array": to}


def _read(value: Any, folder: Path, arrays: dict[Path, Any], copies: bool) -> Any:
    if not isinstance(value, dict):
        return value
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
