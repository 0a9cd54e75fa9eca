"""Ctrl-C and SIGTERM: what was begun is ended and cleared away, workers too, and the exit code says which it was."""

import signal
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143
"""What a shell gives for a program that SIGINT or SIGTERM ended."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a service manager, a batch queue or `docker stop` sends it."""


def end_at_sigterm() -> None:
    """Let SIGTERM interrupt the program, as Ctrl-C does, instead of ending it where it stands."""

    def terminated(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminated)


def interruption(end: KeyboardInterrupt, resumes: bool) -> tuple[int, str]:
    """Exit code and message; `resumes` where the command keeps its work in a folder as it goes."""
    code, how = (TERMINATED, "terminated") if isinstance(end, Terminated) else (INTERRUPTED, "interrupted")
    if resumes:
        return code, f"{how}; the same command continues from here"
    return code, f"{how}; nothing is left half done, give the same command again"
