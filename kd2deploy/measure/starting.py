"""A process of ours that starts from nothing: this Python, what this process could import, and the target's threads."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Protocol

from kd2deploy.core import Target

LAST_WORDS = 600
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Process(Protocol):
    """A worker's process: what `subprocess.Popen` is, as far as anybody here asks."""

    pid: int
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def kill(self) -> None: ...
    def wait(self) -> int: ...


RUNNING: set[Process] = set()
"""What this process has started, or had forked, and has not ended."""


def from_nothing(target: Target, module: str, *arguments: str, **streams: Any) -> "subprocess.Popen[bytes]":
    """`python -m module arguments`."""
    return subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment(target), **streams)


def environment(target: Target) -> dict[str, str]:
    """This process's own, with where it imports from, and the target's thread count: libraries read that once, when
    they are imported."""
    paths = {"PYTHONPATH": os.pathsep.join(search_path())}
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(target.threads)), **paths}


def last_words(said: IO[bytes]) -> str:
    """The end of what a process that has ended wrote to its stderr."""
    said.seek(0)
    return said.read().decode(errors="replace").strip()[-LAST_WORDS:] or "it said nothing"


def search_path() -> list[str]:
    return [path or str(Path.cwd()) for path in sys.path]
