"""A full disk, a folder that cannot be used, memory that ran out: the user's to fix, so one line with the remedy."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kd2deploy.errors import RunError

UNUSABLE = frozenset({errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG})
WRITE_FAILED = ("os error 28", "No space left", "file write failed", "unexpected pos")
"""How safetensors and torch say that a file could not be written whole; neither raises an OSError."""

ALLOCATION_FAILED = ("can't allocate memory", "out of memory", "bad allocation", "std::bad_alloc")
"""How torch says that the memory is used up, on a processor and on a device."""


@contextmanager
def readable_os_errors(folder: Path) -> Iterator[None]:
    """A full disk or a place that cannot be used is the user's to fix: say so, with the place."""
    from safetensors import SafetensorError

    if not is_text(folder):
        raise RunError(f"{os.fsencode(folder)!r} is no name in UTF-8, and reports could not name it; choose another")
    try:
        yield
    except MemoryError as error:
        raise out_of_memory() from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(folder) from error
        place = error.filename or folder
        inside = Path(os.fsdecode(place)).absolute().is_relative_to(folder.absolute())
        remedy = (
            "choose another folder with --out"
            if inside
            else "set the variable that names it (KD2DEPLOY_CACHE, HF_HOME)"
        )
        if error.errno == errno.EROFS:
            raise RunError(f"{place} cannot be written; {remedy}") from error
        if error.errno in UNUSABLE:
            raise RunError(f"{place} cannot be used ({error.strerror}); mend its rights, or {remedy}") from error
        raise
    except (SafetensorError, RuntimeError) as error:
        if any(words in str(error) for words in WRITE_FAILED):
            raise disk_full(folder) from error
        if any(words in str(error) for words in ALLOCATION_FAILED):
            raise out_of_memory() from error
        raise


def is_text(path: Path) -> bool:
    """Whether a path can be written into a file in UTF-8: the system's paths are bytes, and may be anything."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def out_of_memory() -> RunError:
    return RunError(
        "the machine ran out of memory; take a smaller `batch`, fewer rows or a smaller network, and run the same "
        "command again: finished stages are kept"
    )


def disk_full(folder: Path) -> RunError:
    free = shutil.disk_usage(folder if folder.exists() else folder.parent).free / 1e6
    return RunError(
        f"the disk of {folder} is full ({free:.0f} MB free); free some room and run the same command again: "
        "finished stages are kept"
    )
