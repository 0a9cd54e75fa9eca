"""Who does stages that do not depend on each other: this process in order, or several processes of this machine.

What measures is never among them while others work: it has the machine to itself, and runs in this process.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Protocol

import torch

from kd2deploy.core.watcher import Watcher
from kd2deploy.errors import RunError
from kd2deploy.run import Done, Run, Stage, read_json, write_json
from kd2deploy.stages.elsewhere import Child


class Executor(Protocol):
    @property
    def divided(self) -> int | None:
        """Threads of each training, where these are fewer than PyTorch takes by itself: results depend on it."""

    @property
    def elsewhere(self) -> bool:
        """Whether other processes do the work, and must find what they read on the disk."""

    def map(self, run: Run, stages: Sequence[Stage], tell: Watcher) -> list[Done]:
        """Each stage done, in their order. Raises what the first that fails raises."""


class InOrder:
    """One stage after the other, in this process."""

    elsewhere = False

    def __init__(self, threads: int | None = None) -> None:
        self.divided = threads

    def map(self, run: Run, stages: Sequence[Stage], tell: Watcher) -> list[Done]:
        with computing_in(self.divided):
            return [run.carry_out(stage, tell) for stage in stages]


IN_ORDER = InOrder()


class Processes:
    """Up to `jobs` stages at a time, each in a process of its own, the threads divided among them."""

    elsewhere = True

    def __init__(self, jobs: int) -> None:
        whole = torch.get_num_threads()
        self.jobs, self.threads = jobs, max(1, whole // jobs)
        self.divided = self.threads if self.threads < whole else None

    def map(self, run: Run, stages: Sequence[Stage], tell: Watcher) -> list[Done]:
        here = [stage for stage in stages if stage.needs == "target" or run.has(stage) or run.finished]
        there = [stage for stage in stages if stage not in here]
        made = self.all_of(run, there, Together(tell, len(there)))
        return [made[stage.name] if stage.name in made else run.carry_out(stage, tell) for stage in stages]

    def all_of(self, run: Run, stages: Sequence[Stage], told: "Together") -> dict[str, Done]:
        """The stages by name, none of whose processes is left when this returns or raises."""
        left, names = deque(stages), [stage.name for stage in stages]
        children = [Child(run.folder, self.threads, told) for _ in stages[: self.jobs]]
        made: dict[str, Done] = {}

        def serve(child: Child) -> None:
            with child:
                while left:
                    stage = left.popleft()
                    child.work(stage)
                    made[stage.name] = run.fetched(stage, reused=False)

        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                for each in as_completed([pool.submit(serve, child) for child in children]):
                    each.result()
            except BaseException:
                left.clear()
                for child in children:
                    child.end()
                raise
        run.done.sort(key=lambda done: names.index(done.name) if done.name in made else -1)
        return made


THREADS = "threads.json"
"""In a run folder: how many threads each training has, where they were once divided."""


def executor_for(run: Run, jobs: int | None) -> Executor:
    """As many processes as asked for. What was trained in fewer threads is trained so again where nobody asks, so that
    its results stay what they were. Raises RunError."""
    file = run.folder / THREADS
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
