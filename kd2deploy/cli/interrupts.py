"""Ctrl-C and SIGTERM: what was begun is ended and cleared away, workers too, and the exit code says which it was."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

INTERRUPTED, TERMINATED = 130, 143
"""What a shell gives for a program that SIGINT or SIGTERM ended."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a service manager, a batch queue or `docker stop` sends it."""


AGAIN_S = 0.05
"""After so long a signal is sent again that came where Python lets nothing be raised."""


def end_at_signals() -> None:
    """Let SIGTERM interrupt the program, as Ctrl-C does, instead of ending it where it stands; neither is ever lost."""

    def terminated(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminated)
    sys.unraisablehook = again(sys.unraisablehook)


def again(usual: Callable[["sys.UnraisableHookArgs"], Any]) -> Callable[["sys.UnraisableHookArgs"], Any]:
    """What Python is to call with an exception that it cannot raise: in a finalizer, or a callback out of C.

    A signal that comes just then would end nothing at all, with the interrupt printed as "ignored" and the command
    going on; it is sent again a moment later.
    """

    def unraisable(found: "sys.UnraisableHookArgs") -> None:
        if not issubclass(found.exc_type, KeyboardInterrupt):
            usual(found)
            return
        number = signal.SIGTERM if issubclass(found.exc_type, Terminated) else signal.SIGINT
        later = threading.Timer(AGAIN_S, os.kill, (os.getpid(), number))
        later.daemon = True
        later.start()

    return unraisable


def interruption(end: KeyboardInterrupt, resumes: bool) -> tuple[int, str]:
    """Exit code and message; `resumes` where the command keeps its work in a folder as it goes."""
    code, how = (TERMINATED, "terminated") if isinstance(end, Terminated) else (INTERRUPTED, "interrupted")
    if resumes:
        return code, f"{how}; the same command continues from here"
    return code, f"{how}; nothing is left half done, give the same command again"
