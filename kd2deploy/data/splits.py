"""Splits as an artifact: what a run trains on, chooses by and is judged by, with a hash, written and read here alone.

A folder of splits holds `splits.json` and, for each split, its rows as JSON lines, or, where they lie in a file and not
in memory, as an Arrow file that all who read it share. Pictures and other arrays lie beside
them: arrays of one shape together in a file for each field, others one by one. Picture files are copied where the
folder is to go elsewhere (a pack), and named where it stays on this machine.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

from kd2deploy.core.artifact import sha256_of
from kd2deploy.core.mapped import Mapped, rows_at, values_of
from kd2deploy.core.reading import object_of
from kd2deploy.core.rows import REMEDY, read_rows, write_rows
from kd2deploy.core.rows import Row as Row
from kd2deploy.core.written import aside, put_in_place, write_text
from kd2deploy.errors import DataError

PARTS = ("train", "validation", "eval")
ABOUT = "splits.json"
MOST_KNOWN = 8
"""Splits that a process keeps in memory."""


@dataclass(frozen=True)
class Splits:
    """What a run trains on (`train`), chooses by (`validation`) and is judged by (`eval`)."""

    train: Sequence[Row]
    """Labelled rows, then those whose label is None."""
    validation: Sequence[Row]
    eval: Sequence[Row]
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
    def labelled(self) -> Sequence[Row]:
        """The training rows that have a label."""
        return rows_at(self.train, [place for place, lacks in enumerate(lacking(self.train)) if not lacks])

    @property
    def unlabelled(self) -> Sequence[Row]:
        """Those that have none."""
        return rows_at(self.train, [place for place, lacks in enumerate(lacking(self.train)) if lacks])


def lacks_label(row: Mapping[str, Any]) -> bool:
    """Whether a row stands for one whose label nobody gave; a task without labels has rows that know no such field."""
    return "label" in row and row["label"] is None


def lacking(rows: Sequence[Mapping[str, Any]]) -> Iterator[bool]:
    """`lacks_label` of each row."""
    if isinstance(rows, Mapped):
        return (
            (label is None for label in values_of(rows, "label")) if "label" in rows.names else repeat(False, len(rows))
        )
    return map(lacks_label, rows)


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
