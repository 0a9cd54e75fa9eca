"""Folders that one process holds at a time."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held_if_free(folder: Path) -> Iterator[bool]:
    """Whether a folder, made where it is not there, could be held: who holds it is not waited for."""
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@contextmanager
def held(folder: Path, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a folder, made where it is not there. Another process that holds it is waited for, and `waits` told.

    The folder itself is locked, so that nothing is left of the lock, and a kill lets go of it.
    """
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
