"""Who does stages that do not depend on each other: this process in order, processes of this machine, or a cluster.

What measures is never among them while others work: it has the machine to itself, and runs in this process.
"""

import os
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Container, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import final

import torch

from kd2deploy.core.watcher import Watcher
from kd2deploy.errors import Kd2DeployError, Killed, RunError
from kd2deploy.run import Done, Run, Stage, read_json, write_json
from kd2deploy.stages.elsewhere import VISIBLE, Child

Outcome = tuple[Stage, Done | Kd2DeployError]
"""A stage and what came of it."""


class Executor(ABC):
    """Who does stages that do not depend on each other."""

    width: int
    """How many it does at a time."""
    divided: int | None
    """Threads of each stage, where these are fewer than PyTorch takes by itself: results depend on it."""

    elsewhere: bool
    """Whether other processes do the work, and must find what they read on the disk."""

    @abstractmethod
    def each(
        self, run: Run, stages: Sequence[Stage], tell: Watcher, spared: Container[str] = ()
    ) -> Generator[Outcome, None, None]:
        """Every stage as soon as it is done.

        What a stage raises is raised here and ends the others, unless its name is `spared`: an error that is the
        user's to fix then stands in its place. Leaving the generator ends what is at work.
        """

    @final
    def map(self, run: Run, stages: Sequence[Stage], tell: Watcher) -> list[Done]:
        """Each stage done, in their order. Raises what the first that fails raises."""
        names = [stage.name for stage in stages]
        done = {stage.name: found for stage, found in self.each(run, stages, tell) if isinstance(found, Done)}
        run.done.sort(key=lambda one: names.index(one.name) if one.name in names else -1)
        return [done[name] for name in names]


@final
class InOrder(Executor):
    """One stage after the other, in this process."""

    width = 1
    elsewhere = False

    def __init__(self, threads: int | None = None) -> None:
        self.divided = threads

    def each(
        self, run: Run, stages: Sequence[Stage], tell: Watcher, spared: Container[str] = ()
    ) -> Generator[Outcome, None, None]:
        for stage in stages:
            with computing_in(self.divided):
                found = outcome(run, stage, tell, spared)
            yield stage, found


IN_ORDER = InOrder()


@final
class Processes(Executor):
    """Up to `jobs` stages at a time, each in a process of its own, the threads divided among them. Where there are
    several GPUs, each process has one."""

    elsewhere = True

    def __init__(self, jobs: int) -> None:
        whole = torch.get_num_threads()
        self.width, self.threads = jobs, max(1, whole // jobs)
        self.divided = self.threads if self.threads < whole else None

    def each(
        self, run: Run, stages: Sequence[Stage], tell: Watcher, spared: Container[str] = ()
    ) -> Generator[Outcome, None, None]:
        here = [stage for stage in stages if stage.needs == "target" or run.has(stage) or run.finished]
        there = [stage for stage in stages if stage not in here]
        yield from self.elsewhere_each(run, there, Together(tell, len(there)), spared)
        for stage in here:  # none of the processes is left
            yield stage, outcome(run, stage, tell, spared)

    def elsewhere_each(
        self, run: Run, stages: Sequence[Stage], told: "Together", spared: Container[str]
    ) -> Generator[Outcome, None, None]:
        """`each` in other processes, none of which is left when this returns, raises or is closed."""
        if not stages:
            return
        devices = dealt(min(self.width, len(stages)), shown(os.environ.get(VISIBLE), torch.cuda.device_count()))
        with ExitStack() as stack:
            children = [stack.enter_context(Child(run.folder, self.threads, told, device)) for device in devices]
            idle: queue.SimpleQueue[Child] = queue.SimpleQueue()
            for child in children:
                idle.put(child)

            def done_by_one(stage: Stage) -> Done:
                child = idle.get()
                try:
                    child.work(stage)
                finally:
                    idle.put(child)
                return run.fetched(stage, reused=False)

            pool = stack.enter_context(ThreadPoolExecutor(len(children)))
            futures = {pool.submit(done_by_one, stage): stage for stage in stages}
            try:
                for future in as_completed(futures):
                    error, stage = future.exception(), futures[future]
                    if isinstance(error, Kd2DeployError) and stage.name in spared and not isinstance(error, Killed):
                        yield stage, error
                    else:
                        yield stage, future.result()
            finally:
                for future in futures:
                    future.cancel()
                for child in children:
                    child.end()


def outcome(run: Run, stage: Stage, tell: Watcher, spared: Container[str]) -> Done | Kd2DeployError:
    """The stage done here, or the error that is spared."""
    try:
        return run.carry_out(stage, tell)
    except Kd2DeployError as error:
        if stage.name not in spared or isinstance(error, Killed):
            raise
        return error


def shown(visible: str | None, count: int) -> list[str]:
    """The names of the `count` GPUs that CUDA shows to this process, as `visible` (CUDA_VISIBLE_DEVICES) gives them; it
    shows none that stands behind a name which it does not know."""
    names = [str(at) for at in range(count)] if visible is None else [name.strip() for name in visible.split(",")]
    return names[:count]


def dealt(processes: int, devices: Sequence[str]) -> list[str | None]:
    """The GPU of each process, in turn; None where there is none."""
    return [devices[at % len(devices)] if devices else None for at in range(processes)]


THREADS = "threads.json"
"""In a run folder: how many threads each training has, where they were once divided."""


@dataclass(frozen=True)
class Cluster:
    """Who is asked for in place of a number of processes: a Ray cluster."""

    address: str
    """`ray`, or `ray://host:port`."""
    most: int | None = None
    """Stages at a time; as many as it has room for, where it is left out."""


Jobs = int | Cluster | None
"""Who does stages that do not depend on each other: so many processes of this machine, or a cluster."""


def are_several(jobs: Jobs) -> bool:
    """Whether stages may be done beside each other."""
    return isinstance(jobs, Cluster) or (jobs is not None and jobs > 1)


def executor_for(run: Run, jobs: Jobs) -> Executor:
    """As many processes as asked for. What was trained in fewer threads is trained so again where nobody asks, so that
    its results stay what they were. Raises RunError."""
    file = run.folder / THREADS
    if isinstance(jobs, Cluster):
        from kd2deploy.stages.on_ray import OnRay

        file.unlink(missing_ok=True)
        return OnRay(run, jobs)
    if jobs is None:
        return InOrder(read_json(file)["threads"]) if file.is_file() else IN_ORDER
    if jobs < 1:
        raise RunError(f"--jobs is a number of processes, 1 at least, got {jobs}")
    found: Executor = Processes(jobs) if jobs > 1 else IN_ORDER
    if found.divided is None:
        file.unlink(missing_ok=True)
    else:
        write_json(file, {"threads": found.divided})
    return found


class Together:
    """Several stages' progress as one."""

    def __init__(self, tell: Watcher, stages: int) -> None:
        self.tell, self.stages = tell, stages
        self.shares: dict[str, float] = {}
        self.lock = threading.Lock()

    def stage(self, name: str, state: str) -> None:
        with self.lock:
            self.tell.stage(name, state)

    def advance(self, name: str, done: float, total: float, note: str) -> None:
        """How far one stage is with its present piece of work."""
        with self.lock:
            self.shares[name] = done / total if total else 0.0
            whole = sum(self.shares.values())
            self.tell.advance("together", round(100 * whole), 100 * self.stages, f"{name}: {note}" if note else name)

    def say(self, text: str) -> None:
        with self.lock:
            self.tell.say(text)

    def warn(self, text: str) -> None:
        with self.lock:
            self.tell.warn(text)


@contextmanager
def computing_in(threads: int | None) -> Iterator[None]:
    """PyTorch with so many threads, and as before afterwards; None leaves them."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
