"""Files that others may have written, as plain values: nothing waits, nothing runs, nothing leads out of a folder."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from kd2deploy.errors import Kd2DeployError, TrustError

LARGEST_MB = 64
"""Of a file of plain values: the largest tokenizers have some 20."""


def contents(path: Path, most_mb: float = LARGEST_MB) -> str:
    """A text file's contents. Raises OSError, and ValueError for what is no regular file, too large or not UTF-8."""
    # Without O_NONBLOCK the opening of a pipe waits for somebody who writes into it.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("is no regular file (a pipe or a device)")
        found = stream.read(int(most_mb * 1e6) + 1)
    if len(found) > most_mb * 1e6:
        raise ValueError(f"is larger than the {most_mb:g} MB that are read of such a file")
    try:
        return found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None


def text_of(path: Path, error: type[Kd2DeployError], most_mb: float = LARGEST_MB) -> str:
    """A text file's contents. Raises `error` with the file's name."""
    try:
        return contents(path, most_mb)
    except OSError as trouble:
        raise error(f"{path} cannot be read: {trouble.strerror}") from trouble
    except ValueError as trouble:
        raise error(f"{path} {trouble}") from trouble


def object_of(path: Path, error: type[Kd2DeployError], remedy: str) -> dict[str, Any]:
    """The JSON object in a file. Raises `error` with the remedy for anything else."""
    found = plain_json(text_of(path, error), path, error, remedy)
    if not isinstance(found, dict):
        raise error(f"{path} holds {type(found).__name__} where an object with names belongs; {remedy}")
    return found


def plain_json(text: str, called: object, error: type[Kd2DeployError], remedy: str) -> Any:
    """The values of a JSON text. Raises `error`, also for nesting and for half characters that no file can hold."""
    try:
        found = json.loads(text)
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as trouble:
        raise error(f"{called} holds half of a character (a lone surrogate); {remedy}") from trouble
    except ValueError as trouble:
        raise error(f"{called} is not readable JSON ({' '.join(str(trouble).split())}); {remedy}") from trouble
    except RecursionError as trouble:
        raise error(f"{called} is nested too deeply; {remedy}") from trouble
    return found


def inside(folder: Path, name: object) -> Path:
    """What a file inside `folder` names. Raises TrustError for a name that leads out of it, by itself or by a link.

    A hub's cache links the files of a snapshot to its own store beside it; these are followed.
    """
    if not isinstance(name, str) or not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise TrustError(f"{folder} names {str(name)[:80]!r}, which is no file inside it; get it again from its source")
    path = folder / name
    if leads_out(path, folder):
        raise TrustError(f"{path} is a link that leads out of {folder}; get the folder again from its source")
    return path


def leads_out(path: Path, folder: Path) -> bool:
    """Whether following the links of a path ends outside of the folder that it lies in."""
    try:
        end, home = path.resolve(), folder.resolve()
    except (OSError, RuntimeError):  # a link to itself
        return True
    homes = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    return not any(end.is_relative_to(one) for one in homes)
