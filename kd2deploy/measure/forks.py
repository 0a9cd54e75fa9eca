"""Workers that are forked from a process which has imported what takes long, so that not each imports PyTorch anew.

A fork is a fresh process all the same: whatever it opens or runs is its own. What it cannot show is a cold start. Where
the system does not fork soundly (it must be Linux), and for a device, whose libraries bear no fork, there are none.
"""

import atexit
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from kd2deploy.core import Artifact, Target, slow_imports
from kd2deploy.errors import MeasureError, TrustError
from kd2deploy.measure.forkserver import LARGEST
from kd2deploy.measure.starting import RUNNING, environment, from_nothing, last_words, search_path

"""Characters that are shown of what a dead fork server said."""


class Forks:
    """Fork servers, each started when it is first asked for and ended with this. Threads may ask at the same time."""

    def __init__(self) -> None:
        self._servers: dict[tuple[tuple[str, ...], int], ForkServer] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End the servers. Workers that they have forked go on."""
        for server in self._servers.values():
            server.end()
        self._servers.clear()

    def serving(self, artifact: Artifact, target: Target) -> "ForkServer | None":
        """The server whose forks open the artifact without further imports; None where there is none."""
        modules = imports_of(artifact)
        if not modules or target.device != "cpu" or sys.platform != "linux":
            return None
        with self._lock:
            known = self._servers.get((modules, target.threads))
            if known is not None and not known.serves():
                known.end()
                known = None
            if known is None:
                known = self._servers[modules, target.threads] = ForkServer(modules, target)
            return known


@cache
def of_this_process() -> Forks:
    """Forks that last as long as this process does: for what is scored and not timed."""
    found = Forks()
    atexit.register(found.end)
    return found


def imports_of(artifact: Artifact) -> tuple[str, ...]:
    try:
        return slow_imports(artifact.opened_by)
    except TrustError:  # the worker refuses it, in the contender's name
        return ()


class ForkServer:
    """This process's end of `kd2deploy.measure.forkserver`."""

    def __init__(self, modules: tuple[str, ...], target: Target) -> None:
        self._target, self._lock, self._failed = target, threading.Lock(), False
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = from_nothing(
                target, "kd2deploy.measure.forkserver", *modules, stdin=other, stdout=self._said, stderr=self._said
            )
        RUNNING.add(self._process)

    def serves(self) -> bool:
        return not self._failed and self._process.poll() is None

    def fork(self, stderr: IO[bytes]) -> "Forked":
        """A new worker, whose standard error goes to a file. Raises MeasureError if the server has died."""
        asked = {"environment": environment(self._target), "paths": search_path(), "folder": str(Path.cwd())}
        with ExitStack() as theirs, ExitStack() as ours:
            (reads, stdin), (stdout, writes) = os.pipe(), os.pipe()
            theirs.callback(os.close, reads)
            theirs.callback(os.close, writes)
            own = ours.enter_context(os.fdopen(stdin, "wb")), ours.enter_context(os.fdopen(stdout, "rb"))
            pid = self._answer(asked, [reads, writes, stderr.fileno()])["pid"]
            ours.pop_all()
        return Forked(self, pid, *own)

    def code_of(self, pid: int) -> int:
        """Wait for a worker's end. Raises MeasureError if the server has died."""
        return int(self._answer({"wait": pid})["code"])

    def end(self) -> None:
        self._process.kill()  # it may be importing, and has nothing to lose
        self._process.wait()
        RUNNING.discard(self._process)
        self._channel.close()
        self._said.close()

    def _answer(self, asked: Mapping[str, Any], streams: list[int] | None = None) -> dict[str, Any]:
        said = b""
        with suppress(OSError), self._lock:
            socket.send_fds(self._channel, [json.dumps(asked).encode()], streams or [])
            said = self._channel.recv(LARGEST)
        if not said:
            self._failed = True
            raise MeasureError(f"the process that workers are forked from has ended: {self._last_words()}")
        found: dict[str, Any] = json.loads(said)
        return found

    def _last_words(self) -> str:
        if self._said.closed:  # `end` was called
            return "it was not needed any more"
        return last_words(self._said)


class Forked:
    """A worker that a fork server has made."""

    def __init__(self, server: ForkServer, pid: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self._server, self.pid = server, pid
        self.stdin: IO[bytes] | None = stdin
        self.stdout: IO[bytes] | None = stdout
        self._code: int | None = None

    def kill(self) -> None:
        """Its number stays its own until its exit code is asked for."""
        if self._code is None:
            with suppress(ProcessLookupError):  # its server has died, and it with it
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        if self._code is None:
            try:
                self._code = self._server.code_of(self.pid)
            except MeasureError:  # which nobody can tell any more
                self._code = -signal.SIGKILL
        return self._code
