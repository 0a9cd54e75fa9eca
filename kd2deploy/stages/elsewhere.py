"""Stages in a process of their own: `python -m kd2deploy.stages.elsewhere`, descriptions in, JSON lines out.

The child ends when its parent does, however that came about: its standard input then ends.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, Self

from kd2deploy import errors
from kd2deploy.core.trust import trust, trusted
from kd2deploy.errors import Fault, Kd2DeployError, Killed, RecipeError, RunError
from kd2deploy.run import Run, Stage, readable_os_errors

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
VISIBLE = "CUDA_VISIBLE_DEVICES"
LAST_WORDS = 2000
"""Characters of a dead child's standard error that are shown."""


class Told(Protocol):
    def stage(self, name: str, state: str) -> None: ...
    def advance(self, name: str, done: float, total: float, note: str) -> None: ...
    def say(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...


class Child:
    """The parent's end of one: a context manager, and leaving it ends the process."""

    def __init__(self, folder: Path, threads: int, told: Told, device: str | None = None) -> None:
        self.folder, self.threads, self.told, self.device = folder, threads, told, device
        self.stage: Stage | None = None
        self.process: subprocess.Popen[str] | None = None
        self.ended = False

    def __enter__(self) -> Self:
        self.said = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kd2deploy.stages.elsewhere"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            env=environment(self.threads) | ({} if self.device is None else {VISIBLE: self.device}),
        )
        if self.ended:
            self.process.kill()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.kill()
        with suppress(BrokenPipeError):
            self.process.__exit__(None, None, None)
        self.said.close()

    def work(self, stage: Stage) -> None:
        """Have a stage done. Raises what it raises there, and `Killed` where its process is."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stage = stage
        order = {"folder": str(self.folder), "stage": asdict(stage), "threads": self.threads, "trusted": trusted()}
        with suppress(BrokenPipeError):  # it is dead already, and its exit code tells
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        for line in self.process.stdout:
            if heard(self.told, json.loads(line), stage.name):
                return
        raise self.dead(self.process.wait(), stage.name)

    def dead(self, code: int, name: str) -> Exception:
        self.said.seek(0)
        said = self.said.read().strip()[-LAST_WORDS:]
        if code < 0:
            return Killed(
                f"the process of {name} was killed by signal {-code} (9: out of memory?); run the same command again, "
                "with fewer --jobs where memory ran out: finished stages are kept"
            )
        return RuntimeError(f"the process of {name} ended with exit code {code}: {said}")

    def end(self) -> None:
        """Kill it; what it trains goes on from its last checkpoint."""
        self.ended = True
        if self.process is not None and self.process.poll() is None:
            self.process.kill()


def environment(threads: int) -> dict[str, str]:
    """That of a process which finds modules as this one does, and computes in so many threads."""
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return {**os.environ, **{name: str(threads) for name in THREAD_VARIABLES}, "PYTHONPATH": paths}


def line_of(error: Kd2DeployError) -> dict[str, Any]:
    """What a child tells of an error."""
    faults = [(fault.path, fault.message) for fault in error.faults] if isinstance(error, RecipeError) else []
    return {"do": "error", "error": str(error), "kind": type(error).__name__, "faults": faults}


def heard(told: Told, line: Mapping[str, Any], name: str) -> bool:
    """Whether a line says that the stage is done. Raises the error that it tells of."""
    if line["do"] == "error":
        raise error_of(line)
    if line["do"] == "advance":
        told.advance(name, line["done"], line["total"], f"{line['what']} {line['note']}".strip())
    elif line["do"] == "stage":
        told.stage(name, line["state"])
    elif line["do"] != "end":
        (told.warn if line["do"] == "warn" else told.say)(f"{name}: {line['said']}")
    return bool(line["do"] == "end")


def error_of(line: Mapping[str, Any]) -> Kd2DeployError:
    """The error that a child told of."""
    kind = getattr(errors, str(line["kind"]), RunError)
    if kind is RecipeError:
        return RecipeError([Fault(path, message) for path, message in line["faults"]])
    found: Kd2DeployError = kind(line["error"])
    return found


class Stream(Protocol):
    def write(self, line: str, /) -> object: ...
    def flush(self) -> object: ...


class Pipe:
    """The child's end: a watcher that writes to its parent."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def tell(self, **line: Any) -> None:
        self.stream.write(json.dumps(line) + "\n")
        self.stream.flush()

    def stage(self, name: str, state: str) -> None:
        if state in ("running", "waiting"):  # that it is done the parent sees
            self.tell(do="stage", state=state)

    def advance(self, what: str, done: float, total: float, note: str = "") -> None:
        self.tell(do="advance", what=what, done=done, total=total, note=note)

    def say(self, text: str) -> None:
        self.tell(do="say", said=text)

    def warn(self, text: str) -> None:
        self.tell(do="warn", said=text)


def orders(waiting: "queue.SimpleQueue[str]") -> None:
    """Hear the parent, and end this process as soon as it is gone: every stage survives that."""
    for line in sys.stdin:
        waiting.put(line)
    os._exit(1)


def carry_out(order: Mapping[str, Any], pipe: Pipe) -> None:
    """Do the stage that the parent has described, and say how it ended."""
    import torch

    torch.set_num_threads(order["threads"])
    trust(*order["trusted"])
    folder = Path(order["folder"])
    try:
        with readable_os_errors(folder):
            Run(folder, pipe.stage).carry_out(Stage(**order["stage"]), pipe)
    except Kd2DeployError as error:
        pipe.tell(**line_of(error))
    else:
        pipe.tell(do="end")


def main() -> None:
    """Do stages as they are described on standard input. What libraries print goes to standard error."""
    pipe = Pipe(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=orders, args=(waiting,), daemon=True).start()
    while True:
        carry_out(json.loads(waiting.get()), pipe)


if __name__ == "__main__":
    main()
