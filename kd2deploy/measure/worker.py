"""One artifact in a process of its own: `python -m kd2deploy.measure.worker`, JSON lines in, JSON lines out.

Commands (`do`): wake, open, warm, time, throughput, read, end_to_end, outputs, describe, close. Every reply is one
object; a user's error comes back as `{"error": message, "kind": class}`, anything else ends the process with its
traceback on standard error. Whatever libraries print on standard output goes to standard error, so that it cannot fall
between two replies.

It imports no more than its contender needs: a deployed file in ONNX Runtime or OpenVINO needs no PyTorch, which takes
seconds.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from kd2deploy.core import Artifact, Clocked, Feed, Marking, Ports, Resident, Session, Target, open_session, trust
from kd2deploy.core.device_times import DeviceTimes
from kd2deploy.errors import Kd2DeployError, NotFiniteError
from kd2deploy.measure.asked import Asked
from kd2deploy.measure.device_time import device_memory_mb, device_times
from kd2deploy.measure.feeds import read_feed, read_feeds, write_feed
from kd2deploy.measure.loop import Clock, timed, warm_up
from kd2deploy.measure.marks import Marks

Reply = dict[str, Any]
Times = Callable[[Resident, Sequence[Feed]], DeviceTimes]


class Worker:
    """The state of one worker: the session that was opened and the inputs it was given."""

    def __init__(
        self,
        times: Times = device_times,
        memory_mb: Callable[[Literal["cpu", "cuda"]], float] = device_memory_mb,
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        self.times, self.memory_mb, self.clock = times, memory_mb, clock
        self.cpu_clock: Clock | None = time.process_time_ns
        self.session: Session | None = None
        self.feeds: list[Feed] = []
        self.device: Literal["cpu", "cuda"] = "cpu"
        self.others_mb, self.device_mb = 0.0, 0.0
        """Device memory in use before the artifact was opened, and what it took since."""
        self.asked: Asked | None = None
        self.opening: Callable[[int], Session] | None = None
        """Opens the same artifact once more, with so many threads."""
        self.threads = 0
        self.further, self.served = ExitStack(), list[Session]()
        """Sessions that serve requests in flight, as long as they are open."""

    def answer(self, request: Mapping[str, Any]) -> Reply:
        """Carry out one request. Raises Kd2DeployError for what is the user's to fix."""
        commands: dict[str, Callable[..., Reply]] = {
            "wake": self.wake,
            "open": self.open,
            "warm": self.warm,
            "time": self.time,
            "throughput": self.throughput,
            "read": self.read,
            "end_to_end": self.end_to_end,
            "outputs": self.outputs,
            "describe": self.describe,
            "close": self.close,
        }
        arguments = dict(request)
        return commands[str(arguments.pop("do"))](**arguments)

    def wake(self) -> Reply:
        """Nothing: who is answered knows that this process has started."""
        return {}

    def open(
        self,
        artifact: Mapping[str, Any],
        ports: Mapping[str, Any],
        target: Mapping[str, Any],
        options: Mapping[str, Any],
        trusted: Sequence[str] = (),
    ) -> Reply:
        """Seconds to open, its runtime's import included: the cold start without the first run.

        `trusted` is what the coordinator's user has named of code of others.
        """
        trust(*trusted)
        if options:
            importlib.import_module("pydantic")  # what checks them is no part of a cold start
        place = Target.from_json(target)
        known = Artifact.from_json(artifact), Ports.from_json(ports)
        self.threads = place.threads
        self.opening = lambda threads: open_session(*known, replace(place, threads=threads), options)
        self.device, self.others_mb = place.device, self.memory_mb(place.device)
        begun = time.perf_counter_ns()
        self.session = self.opening(place.threads).__enter__()
        if isinstance(self.session, Clocked):
            self.clock, self.cpu_clock = self.session.clock_ns, None  # another process works
        return {"open_s": (time.perf_counter_ns() - begun) / 1e9, "describe": dict(self.session.describe())}

    def warm(self, feeds: str, seconds: float, runs: int) -> Reply:
        """Read the inputs, run each shape once, warm up until settled. `feeds` is a folder of 000000.npz, ..."""
        self.feeds = read_feeds(Path(feeds))
        begun = time.perf_counter_ns()
        self._opened().run(self.feeds[0])
        first_ms = (time.perf_counter_ns() - begun) / 1e6
        shapes: dict[tuple[tuple[str, tuple[int, ...]], ...], Feed] = {}
        for feed in self.feeds:
            shapes.setdefault(tuple((name, array.shape) for name, array in sorted(feed.items())), feed)
        for feed in shapes.values():
            self._opened().run(feed)
        ns = warm_up(self._opened().run, self.feeds, seconds=seconds, runs=runs, settle=True)
        self.device_mb = self.memory_mb(self.device) - self.others_mb
        return {"first_run_ms": first_ms, "run_ns": float(np.median(ns)), "shapes": len(shapes)}

    def time(self, start: int, runs: int, warm_s: float, warm_runs: int) -> Reply:
        """One block: a short warm-up (other processes just ran), then `runs` timed runs from input `start` on.

        A session that answers part by part is timed to each of its marks too.
        """
        session, load, marks = self._opened(), os.getloadavg()[0], Marks(self.clock)
        run = partial(marks.of_run, session.run_marked) if isinstance(session, Marking) else session.run
        warm_up(run, self.feeds, seconds=warm_s, runs=warm_runs, settle=False, start=start, clock=self.clock)
        taken = timed(run, self.feeds, runs=runs, start=start, clock=self.clock, cpu_clock=self.cpu_clock)
        return {**asdict(taken), **marks.of_last(runs), "load_before": load, "load_after": os.getloadavg()[0]}

    def throughput(
        self, seconds: float, in_flight: int = 1, warm_s: float = 0.0, warm_runs: int = 1, keep: bool = False
    ) -> Reply:
        """Requests per second over walks of the inputs, back to back, by `in_flight` sessions at once.

        Each has a session of its own, warmed on every input, so that none waits for another's buffers. All are warmed
        once more before the clock starts, since this process has waited for the others' turns. On a processor several
        share the threads that one has alone. `keep` leaves them open for the next time; latency is then no more what it
        was, since PyTorch's threads are the process's.
        """
        sessions = [self._opened()] if in_flight == 1 else self._in_flight(in_flight)
        try:
            with ThreadPoolExecutor(in_flight) as pool:  # its threads are there before the clock starts
                self._by_all(pool, sessions, partial(self._warm, warm_s, warm_runs))
                begun = self.clock()
                served = self._by_all(pool, sessions, partial(self._serve, begun, seconds))
                spent = (self.clock() - begun) / 1e9
        finally:
            if not keep:
                self._close_further()
        return {"per_s": sum(served) / spent, "requests": sum(served)}

    def _in_flight(self, count: int) -> list[Session]:
        """So many sessions, each with its part of the threads; on a device the first is the one that is open anyway."""
        assert self.opening is not None, "the coordinator opens before it asks"
        own = [self._opened()] if self.device == "cuda" else []
        while len(own) + len(self.served) < count:
            session = self.further.enter_context(self.opening(max(1, self.threads // count)))
            for feed in self.feeds:
                session.run(feed)
            self.served.append(session)
        return [*own, *self.served]

    def _close_further(self) -> None:
        self.further.close()
        self.served.clear()

    @staticmethod
    def _by_all(pool: ThreadPoolExecutor, sessions: Sequence[Session], work: Callable[[Session], int]) -> list[int]:
        """`work` of all sessions at once; the first one's in the thread that latency is timed in."""
        others = [pool.submit(work, session) for session in sessions[1:]]
        return [work(sessions[0]), *(one.result() for one in others)]

    def _warm(self, seconds: float, runs: int, session: Session) -> int:
        return len(warm_up(session.run, self.feeds, seconds=seconds, runs=runs, settle=False, clock=self.clock))

    def _serve(self, begun: int, seconds: float, session: Session) -> int:
        """Requests that one session answers until `seconds` after `begun`; at least one."""
        done = 0
        while True:
            session.run(self.feeds[done % len(self.feeds)])
            done += 1
            if (self.clock() - begun) / 1e9 >= seconds:
                return done

    def read(self, rows: str, batch: int, runs: int, task: Mapping[str, Any], folder: str, as_bundle: bool) -> Reply:
        """Open what reads whole requests, `batch` of the rows each, and answer the first few."""
        self.asked = Asked.opened(task, Path(rows), batch, Path(folder), as_bundle)
        return {"run_ns": float(np.median(self._end_to_end(0, runs, 1)["ns"]))}

    def end_to_end(self, start: int, runs: int, warm_runs: int) -> Reply:
        """One block of whole requests, after a short warm-up: each with its marks."""
        load = os.getloadavg()[0]
        taken = self._end_to_end(start, runs, warm_runs)
        return {**taken, "load_before": load, "load_after": os.getloadavg()[0]}

    def _end_to_end(self, start: int, runs: int, warm_runs: int) -> Reply:
        assert self.asked is not None, "the coordinator has the rows read before it asks"
        marks, asked = Marks(self.clock), self.asked
        run = partial(marks.of_run, partial(asked.run, self._opened()))
        warm_up(run, asked.requests, seconds=0.0, runs=warm_runs, settle=False, start=start, clock=self.clock)
        taken = timed(run, asked.requests, runs=runs, start=start, clock=self.clock, cpu_clock=self.cpu_clock)
        return {**asdict(taken), **marks.of_last(runs)}

    def outputs(self, feed: str, to: str) -> Reply:
        """Run one input file and write the outputs beside it. Raises NotFiniteError for outputs that are not finite."""
        found = self._opened().run(read_feed(Path(feed)))
        for name, array in found.items():
            check_finite(name, array)
        write_feed(found, Path(to))
        return {"outputs": sorted(found)}

    def describe(self) -> Reply:
        session = self._opened()
        memory = 0.0 if isinstance(session, Clocked) else peak_rss_mb()
        said: Reply = {"describe": dict(session.describe()), "peak_rss_mb": memory}
        if isinstance(session, Resident) and session.stream is not None and self.feeds:
            said["device"] = asdict(self.times(session, self.feeds))
        if self.device == "cuda":
            said["peak_device_mb"] = self.device_mb
        return said

    def close(self) -> Reply:
        self._close_further()
        if self.session is not None:
            self.session.__exit__(None, None, None)
        self.session = None
        return {}

    def _opened(self) -> Session:
        assert self.session is not None, "the coordinator opens before it asks"
        return self.session


def check_finite(name: str, array: np.ndarray[Any, Any]) -> None:
    """NotFiniteError if an output holds NaN or infinity: its score would be a number about nothing."""
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        share = 1 - np.isfinite(array).mean()
        raise NotFiniteError(
            f"output {name!r} is not finite in {share:.1%} of its values; in fp16 this is overflow: "
            "deploy in bf16 or fp32, or keep the operations that overflow in fp32"
        )


def peak_rss_mb(status: Path = Path("/proc/self/status")) -> float:
    """Largest resident memory so far, in MB.

    Linux keeps it per address space; `getrusage` would start a child at the size that its parent had.
    """
    if status.exists():
        found = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(found["VmHWM"].split()[0]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def serve(requests: IO[str], replies: IO[str]) -> None:
    """Answer requests line by line until `close` or the end of input."""
    worker = Worker()
    for line in requests:
        request = json.loads(line)
        try:
            reply = worker.answer(request)
        except Kd2DeployError as error:
            reply = {"error": str(error), "kind": type(error).__name__}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
        if request["do"] == "close":
            return


def main() -> None:
    """Serve on the standard streams."""
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, own)


if __name__ == "__main__":
    main()
