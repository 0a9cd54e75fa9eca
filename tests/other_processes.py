"""The processes that tests start, wait for and look for. A machine may be as busy as it likes, and hold any others."""

import os
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

PATIENCE_S = 600.0
"""How long a test waits for what must come: only what never does takes so long, on a busy machine too."""
ELSEWHERE, SERVER = "kd2deploy.stages.elsewhere", "kd2deploy.measure.forkserver"


def wait_until(holds: Callable[[], object], process: "subprocess.Popen[bytes]") -> None:
    """Until something holds of the files that a process makes and removes. AssertionError where it ends before."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        ended = process.poll() is not None
        with suppress(FileNotFoundError):  # what was listed is removed before it is looked at
            if holds():
                return
        assert not ended, "it ended before it came so far"
        assert time.monotonic() < deadline, f"it did not come so far within {PATIENCE_S} s"
        time.sleep(0.005)


def all_end(processes: Iterable[psutil.Process]) -> bool:
    """Whether they end by themselves. Who takes over a killed process's children need not ask how they ended."""
    deadline = time.monotonic() + PATIENCE_S
    left = list(processes)
    while left and time.monotonic() < deadline:
        left = [process for process in left if lives(process)]
        time.sleep(0.02)
    return not left


def lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def at_work(module: str = "kd2deploy.") -> set[psutil.Process]:
    """Our processes that this one has started, and those that they have, which run a module of this name.

    Not a fork server itself, which a test before may have left and which does nothing, nor what libraries keep: a
    compiler's processes come and go.
    """
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            words = process.cmdline()
            waits = SERVER in words and process.ppid() == os.getpid()
            if not waits and any(word.startswith(module) for word in words):
                found.add(process)
    return found
