"""One small run in a process group of its own, which is killed at an instant of one of its stages, workers and all."""

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

REPORT = "report"
"""What comes after the last stage: judging, the pages and the bundle."""
LAST = "measure-cpu"
Until = Literal["distill", "bundle"]
RECIPE: dict[str, Any] = {
    "task": {"use": "image_classification", "channels": 1, "height": 8, "width": 8},
    "data": "digits",
    "limit_train": 300,
    "limit_eval": 100,
    "teacher": {
        "create": {
            "model_type": "resnet",
            "layer_type": "basic",
            "embedding_size": 8,
            "hidden_sizes": [8, 16],
            "depths": [1, 1],
        },
        "fine_tune": {"epochs": 4, "learning_rate": 3e-3, "batch": 32, "checkpoint_every": 5},
    },
    "student": {"shrink": {"hidden_sizes": [8, 8]}},
    "distill": [{"method": "logit", "epochs": 4, "learning_rate": 3e-3, "batch": 32, "checkpoint_every": 5}],
    "control": False,
    "variants": ["onnx"],
    "measurement": {"processes": 3, "cap_s": 1.0, "block_s": 0.005},
    "gates": {"max_drop": 0.9},
}
"""Everything that a recipe can have stages for but a control and a second target, which are the same code twice."""


@dataclass
class Lived:
    """How far a run came, and when: seconds since its start at which each stage began, and its exit code."""

    began: dict[str, float] = field(default_factory=dict)
    ended_s: float = 0.0
    code: int | None = None
    """None where it was killed."""

    @property
    def at(self) -> str:
        """The stage it was in at last."""
        return next(reversed(self.began), "start")


class Told:
    """A watcher that writes each stage's start into a pipe."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def stage(self, name: str, state: str) -> None:
        if state == "running":
            os.write(self.pipe, f"{name}\n".encode())
        elif name == LAST:
            os.write(self.pipe, f"{REPORT}\n".encode())

    def advance(self, what: str, done: float, total: float, note: str = "") -> None: ...

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


def live(folder: Path, kill: Callable[[str], float | None] = lambda stage: None, until: Until = "bundle") -> Lived:
    """Run the recipe in `folder`; `kill(stage)` says how many seconds after a stage's start all is killed.

    The programs that it needs are imported here once; the run itself is a fork, its workers fresh programs as always.
    """
    import kd2deploy.flows.compress  # noqa: F401

    heard, told = os.pipe()
    begun = time.monotonic()
    child = os.fork()
    if not child:
        os.close(heard)
        os.setsid()
        os._exit(run(folder, Told(told), until))
    os.close(told)
    lived, deadline, text = Lived(), None, b""
    with os.fdopen(heard, "rb", buffering=0) as stream:
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([stream], [], [], left)[0]:
                os.killpg(child, signal.SIGKILL)
                break
            text += (found := stream.read(4096) or b"")
            if not found:
                break
            *whole, text = text.split(b"\n")
            for stage in (line.decode() for line in whole):
                now = time.monotonic()
                lived.began[stage] = now - begun
                after = kill(stage)
                deadline = deadline if after is None else now + after
    status = os.waitpid(child, 0)[1]
    lived.ended_s = time.monotonic() - begun
    lived.code = None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)
    return lived


def run(folder: Path, watcher: Told, until: Until) -> int:
    """The verdict's exit code; 70 and the traceback in `crash.txt` beside the folder for what should not happen."""
    from kd2deploy.flows.compress import compress
    from kd2deploy.recipe import Recipe

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        (result,) = compress(Recipe.parse(RECIPE), folder, watcher, until, command="kills")
        return result.exit_code
    except BaseException:
        folder.with_name("crash.txt").write_text(traceback.format_exc())
        sys.stdout.flush()
        return 70
