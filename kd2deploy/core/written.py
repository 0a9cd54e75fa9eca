"""Files and folders that are there whole or not at all, whatever instant a kill or a loss of power comes at.

What is new is written beside, forced onto the disk, and takes its name at once.
"""

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Of Linux's renameat2: names are those that this process sees; the two change places."""


def beside(path: Path) -> Path:
    """Where a file is written before it takes its name."""
    return path.with_name(path.name + ".new")


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader finds the old one or the new one, never half of one."""
    with beside(path).open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    beside(path).replace(path)


def flush(path: Path) -> None:
    """Force a file, or a folder's own list of names, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def aside(place: Path) -> Path:
    """An empty folder in which what is to stand at `place` is made; what a kill left there is gone."""
    restore(place)
    place.with_name(f".{place.name}.new").mkdir()
    return place.with_name(f".{place.name}.new")


def put_in_place(new: Path, place: Path) -> None:
    """Give the folder `new`, which stands beside it, the name `place`; a folder that has it now is gone afterwards.

    A kill leaves the old or the new one there. Where the file system cannot exchange two names, a kill may leave the
    old one under another name, which `restore` gives back.
    """
    for found in (*sorted(new.rglob("*")), new):
        flush(found)
    old = place.with_name(f".{place.name}.old")
    if not place.exists():
        new.rename(place)
    elif exchanged(new, place):
        shutil.rmtree(new)
    else:
        place.rename(old)
        new.rename(place)
        shutil.rmtree(old)
    flush(place.parent)


@contextmanager
def made_aside(place: Path) -> Iterator[Path]:
    """A folder in which what is to stand at `place` is made: put there when the block ends, gone where it fails."""
    new = aside(place)
    try:
        yield new
        put_in_place(new, place)
    finally:
        if new.exists():
            shutil.rmtree(new)


def restore(place: Path) -> None:
    """Mend what a kill in `put_in_place` left: the old folder gets its name back, and half-made ones are removed."""
    new, old = place.with_name(f".{place.name}.new"), place.with_name(f".{place.name}.old")
    if old.exists() and not place.exists():
        old.rename(place)
    for left in (new, old):
        if left.exists():
            shutil.rmtree(left)


def exchanged(one: Path, other: Path) -> bool:
    """Whether two names have changed places, in one step; False where this system or file system cannot do that."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    done: int = rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
    return done == 0
