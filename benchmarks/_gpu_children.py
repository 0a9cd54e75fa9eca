"""Each part in a process of its own: its time is limited, and what it wrote down survives its crash."""

import json
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRELOAD = ["torch", "transformers", "scipy.stats", "onnx"]
"""Imported once, by the server that all parts are forked from; none of them touches the device when imported."""


@dataclass(frozen=True)
class Attempt:
    """What a part found, and why it did not end well; both where it was stopped on its way."""

    name: str
    found: Mapping[str, Any]
    reason: str
    seconds: float
    limit_s: float

    @property
    def entry(self) -> dict[str, Any]:
        return {"part": self.name, "seconds": round(self.seconds, 2), "limit_s": round(self.limit_s, 2)}


def attempt(
    name: str, part: Callable[..., None], folder: Path, limit_s: float, start: str, arguments: Mapping[str, Any]
) -> Attempt:
    """Run `part(out, **arguments)` for at most `limit_s` in a new process; it writes what it finds to `out` as it goes.

    Whatever it started itself (compilers, trtexec) ends with it.
    """
    out = folder / f"{name.replace(' ', '-')}.json"
    begun = time.monotonic()
    reason = ended(part, out, limit_s, start, arguments) if limit_s > 0 else "the time was up"
    return Attempt(name, read(out), reason, time.monotonic() - begun, limit_s)


def ended(part: Callable[..., None], out: Path, limit_s: float, start: str, arguments: Mapping[str, Any]) -> str:
    """How it ended; nothing where it ended well."""
    context: Any = multiprocessing.get_context(start)
    if start == "forkserver":
        context.set_forkserver_preload(PRELOAD)
    log = out.with_suffix(".log")
    child = context.Process(target=alone, args=(part, out, log, dict(arguments)))
    child.start()
    child.join(limit_s)
    late = child.is_alive()
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    if late:
        child.kill()  # where it had not come to lead a group yet
        child.join()
        return f"stopped after {limit_s:.3g} s"
    if child.exitcode:
        return f"{ending(child.exitcode)}: {last_line(log)}"
    return ""


def alone(part: Callable[..., None], out: Path, log: Path, arguments: Mapping[str, Any]) -> None:
    """In the new process: lead a group that can be ended as a whole, print into the log, and do the part."""
    os.setsid()
    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    part(out, **arguments)


def ending(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1].strip()[:400] if lines else "it printed nothing"


@contextmanager
def left_out(found: dict[str, Any], **entry: Any) -> Iterator[None]:
    """Write down why something could not be done, instead of losing what else there is to do."""
    try:
        yield
    # Each library fails in its own way on what it cannot run, some with exceptions derived from nothing but this one.
    except Exception as error:
        traceback.print_exc()  # into the part's log
        said = " ".join(str(error).split())[:400]
        found["left_out"].append({**entry, "reason": f"{type(error).__name__}: {said}"})


def write(found: Mapping[str, Any], path: Path) -> None:
    """The whole of it at once, so that a reader never sees a half."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(json.dumps(found, indent=1, default=str) + "\n")
    aside.replace(path)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


class Deadline:
    """How much of the minutes given is spent and left."""

    def __init__(self, minutes: float) -> None:
        self.begun, self.whole_s = time.monotonic(), 60 * minutes

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self.begun

    @property
    def left_s(self) -> float:
        return max(0.0, self.whole_s - self.spent_s)
