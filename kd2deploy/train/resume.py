"""Checkpoints that are whole or not there: the last thing written into one is the list of all its files."""

import json
import shutil
from pathlib import Path
from typing import Any

from kd2deploy.core.written import write_text

MARK = "whole.json"


def mark_whole(checkpoint: Path) -> None:
    """Say that a checkpoint is complete, with the size of each of its files."""
    write_json(checkpoint / MARK, sizes(checkpoint))


def is_whole(checkpoint: Path) -> bool:
    mark = checkpoint / MARK
    return mark.is_file() and json.loads(mark.read_text()) == sizes(checkpoint)


def sizes(folder: Path) -> dict[str, int]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != MARK)
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in sorted(files)}


def last_whole(folder: Path) -> Path | None:
    """The newest complete `checkpoint-<step>` in a folder; None where there is none."""
    whole = [found for found in folder.glob("checkpoint-*") if is_whole(found)]
    return max(whole, key=step_of, default=None)


def step_of(path: Path) -> int:
    """The optimizer step in a name such as `checkpoint-120`."""
    return int(path.name.rpartition("-")[2])


def remove(folder: Path) -> None:
    """Delete a folder so that a kill in between leaves nothing that looks complete."""
    (folder / MARK).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write a file so that a reader finds the old one or the new one, never half of one."""
    write_text(path, json.dumps(value, indent=1))
