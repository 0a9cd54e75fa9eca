"""The coordinator's end of a worker: start it, ask it, end it; whatever goes wrong becomes one clear error."""

import json
import logging
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import TracebackType
from typing import IO, Any, Self

from kd2deploy import errors
from kd2deploy.core import Artifact, Target, build_task, trusted, usable_cores
from kd2deploy.errors import Kd2DeployError, MeasureError
from kd2deploy.measure.forks import Forks
from kd2deploy.measure.starting import RUNNING, Process, from_nothing, last_words
from kd2deploy.measure.timing import Contender

log = logging.getLogger(__name__)
Reply = dict[str, Any]
"""Characters of a dead worker's standard error that are shown."""


def with_threads(target: Target) -> Target:
    """The target with its thread count said: 0 becomes the number of usable cores."""
    return replace(target, threads=target.threads or usable_cores())


def started(artifact: Artifact, target: Target, stderr: IO[bytes], forks: Forks | None) -> Process:
    """A worker's process for one artifact: a fork where one of `forks` serves its session, else one from nothing."""
    server = forks.serving(artifact, target) if forks is not None else None
    if server is not None:
        try:
            return server.fork(stderr)
        except MeasureError as error:
            log.info("%s; the worker starts from nothing", error)
    pipe = subprocess.PIPE
    return from_nothing(target, "kd2deploy.measure.worker", stdin=pipe, stdout=pipe, stderr=stderr)


@contextmanager
def ended_with_their_workers(pool: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """The pool of threads that each ask a worker. An interrupt ends the workers too, so that no thread waits for one.

    Ctrl-C in a terminal reaches the workers by itself; SIGTERM is sent to this process alone.
    """
    with pool:
        try:
            yield pool
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in tuple(RUNNING):
                process.kill()
            raise


class WorkerProcess:
    """A fresh process that holds one contender. A context manager: leaving it ends the process.

    It is forked by one of `forks` where these serve its session, and else started from nothing.
    """

    def __init__(
        self,
        contender: Contender,
        task_spec: Mapping[str, Any],
        target: Target,
        timeout_s: float,
        forks: Forks | None = None,
    ) -> None:
        self.contender, self.task_spec, self.timeout_s, self.forks = contender, task_spec, timeout_s, forks
        self.target = with_threads(target)

    def __enter__(self) -> Self:
        self._said = tempfile.TemporaryFile()
        self._process = started(self.contender.artifact, self.target, self._said, self.forks)
        RUNNING.add(self._process)
        self._read = b""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        RUNNING.discard(self._process)
        for stream in (self._process.stdin, self._process.stdout, self._said):
            _close(stream)

    def open(self) -> Reply:
        """Open the contender's artifact. Raises the session's own error."""
        return self.ask(
            "open",
            artifact=self.contender.artifact.to_json(),
            ports=build_task(self.task_spec).ports.to_json(),
            target=asdict(self.target),
            options=dict(self.contender.options),
            trusted=trusted(),
        )

    def ask(self, do: str, **arguments: Any) -> Reply:
        """One request, one reply. Raises what the worker raised, or MeasureError if it died or did not answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write((json.dumps({"do": do, **arguments}, default=str) + "\n").encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._dead(do) from None
        reply: Reply = json.loads(self._line(do))
        if "error" in reply:
            kind = getattr(errors, str(reply["kind"]), MeasureError)
            raise kind(reply["error"]) if kind is not errors.RecipeError else MeasureError(reply["error"])
        return reply

    def _line(self, do: str) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + self.timeout_s
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if not ready.select(max(0.0, deadline - time.monotonic())):
                    raise MeasureError(
                        f"{self.contender.name} did not answer {do!r} within {self.timeout_s:g} s; leave it more of "
                        "the machine, or give the target's `workload` fewer `inputs` or a smaller `batch`"
                    )
                found = os.read(self._process.stdout.fileno(), 1 << 20)
                if not found:
                    raise self._dead(do)
                self._read += found
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _dead(self, do: str) -> Kd2DeployError:
        code = self._process.wait()
        manner = f"was killed by signal {-code} (9: out of memory?)" if code < 0 else f"ended with exit code {code}"
        return MeasureError(f"the process of {self.contender.name} {manner} at {do!r}: {last_words(self._said)}")


def _close(stream: Any) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        return
