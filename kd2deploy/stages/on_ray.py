"""Stages as tasks of a Ray cluster: started where there is room, started again where a worker or a node is lost.

A task is a stage's description and the run's folder, which all nodes see. What it makes lies in that folder, so a task
that is started again goes on from the last checkpoint there. It computes in as many threads as it would in this
process, so on like processors its result is the same to the bit.
"""

import json
import os
import platform
import socket
import sys
import time
import uuid
from collections.abc import Container, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch

from kd2deploy.core.figures import count_of
from kd2deploy.core.fingerprint import LAYOUT, versions
from kd2deploy.core.trust import trusted
from kd2deploy.core.watcher import Watcher
from kd2deploy.errors import Kd2DeployError, Killed, RunError, first_line
from kd2deploy.run import Run, Stage
from kd2deploy.stages.elsewhere import THREAD_VARIABLES, Pipe, carry_out, heard
from kd2deploy.stages.executor import Cluster, Executor, Outcome, Together, outcome

RETRIES = 3
"""Times that a stage is started again after its worker or node was lost. Ours."""
LISTEN_S = 0.5
"""Between two looks at what the tasks tell. Ours."""
SPEAK_S = 0.2
"""Between two words of a task on how far it is. Ours."""
REACH_S = 5.0
"""For a cluster to answer at its address. Ours."""
CHECK_S = 120.0
"""For every node to say what it has installed: a process is started there for it. Ours."""
SHORT = 8
"""Digits of a node's name that are told."""
HEAD = "node:__internal_head__"
"""The resource by which Ray marks the node that the cluster began with, and does not go without."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    id: str
    host: str
    cpus: float
    gpus: float

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Node":
        has = found["Resources"]
        return cls(found["NodeID"], found["NodeManagerHostname"], has.get("CPU", 0.0), has.get("GPU", 0.0))


@final
class OnRay(Executor):
    """As many stages at a time as a Ray cluster has room for, or as are allowed."""

    elsewhere = True
    divided = None

    def __init__(self, run: Run, cluster: Cluster) -> None:
        self.threads = torch.get_num_threads()
        self.ray = connected(cluster.address)
        nodes = [Node.of(one) for one in self.ray.nodes() if one["Alive"]]
        self.gpu = any(node.gpus >= 1 for node in nodes)
        refuse_lacking(nodes, self.threads, self.gpu)
        roomy = [node for node in nodes if node.cpus >= self.threads]
        self.environment = environment(self.threads)
        check(self.ray, roomy, run.folder, self.environment)
        room = sum(int(node.cpus // self.threads) for node in roomy)
        self.width = min(room, cluster.most or room)

    def each(
        self, run: Run, stages: Sequence[Stage], tell: Watcher, spared: Container[str] = ()
    ) -> Generator[Outcome, None, None]:
        here = [stage for stage in stages if stage.needs == "target" or run.has(stage) or run.finished]
        there = [stage for stage in stages if stage not in here]
        with closing(self.tasks(run, there, Together(tell, len(there)), spared)) as done:
            yield from done
        for stage in here:  # none of the tasks is left
            yield stage, outcome(run, stage, tell, spared)

    def tasks(
        self, run: Run, stages: Sequence[Stage], told: Together, spared: Container[str]
    ) -> Generator[Outcome, None, None]:
        """`each` as tasks, none of which is left when this returns, raises or is closed."""
        if not stages:
            return
        waiting, pending = list(stages), dict[Any, Stage]()
        ears = self.ray.remote(Ears).options(num_cpus=0, resources={HEAD: 0.001}, runtime_env=self.environment).remote()
        try:
            while waiting or pending:
                while waiting and len(pending) < self.width:
                    stage = waiting.pop(0)
                    pending[self.started(run, stage, ears)] = stage
                ready, _ = self.ray.wait(list(pending), num_returns=1, timeout=LISTEN_S)
                self.listen(ears, told)
                for task in ready:
                    stage = pending.pop(task)
                    try:
                        heard(told, json.loads(self.last_word(task, stage)), stage.name)
                    except Killed:
                        raise
                    except Kd2DeployError as error:
                        if stage.name not in spared:
                            raise
                        yield stage, error
                    else:
                        yield stage, run.fetched(stage, reused=False)
        finally:
            for task in pending:
                self.ray.cancel(task, force=True)
            if pending:
                self.ray.wait(list(pending), num_returns=len(pending), timeout=REACH_S)
            self.ray.kill(ears)

    def listen(self, ears: Any, told: Together) -> None:
        """Pass on what the tasks have told since it was last asked."""
        for name, line in self.ray.get(ears.taken.remote()):
            heard(told, json.loads(line), name)

    def started(self, run: Run, stage: Stage, ears: Any) -> Any:
        """The stage as a task that waits for room."""
        order = {"folder": str(run.folder), "stage": asdict(stage), "threads": self.threads, "here": str(Path.cwd())}
        needs = {"num_cpus": self.threads, "num_gpus": 1 if self.gpu and stage.needs == "gpu" else 0}
        task = self.ray.remote(work).options(
            name=stage.name, max_retries=RETRIES, retry_exceptions=False, runtime_env=self.environment, **needs
        )
        return task.remote(json.dumps({**order, "trusted": list(trusted())}), stage.name, ears)

    def last_word(self, task: Any, stage: Stage) -> str:
        """What a task ended with. Raises `Killed` where it was lost more often than it is started again."""
        try:
            found: str = self.ray.get(task)
        except self.ray.exceptions.RayTaskError:  # a fault of the program's own, with its traceback
            raise
        except self.ray.exceptions.RayError as error:
            raise Killed(
                f"the process of {stage.name} was lost {RETRIES + 1} times ({first_line(error)}); run the same command "
                "again: finished stages are kept"
            ) from None
        return found


class Ears:
    """An actor that keeps what tasks tell until this process asks for it."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def hear(self, name: str, line: str) -> None:
        self.lines.append((name, line))

    def taken(self) -> list[tuple[str, str]]:
        found, self.lines = self.lines, []
        return found


class Mouth:
    """A stream to `Ears`; the word that ends a stage is kept, for it is what the task comes to."""

    def __init__(self, name: str, ears: Any) -> None:
        self.name, self.ears = name, ears
        self.last = ""
        self.spoke = 0.0
        self.said: Any = None

    def write(self, line: str) -> None:
        what = json.loads(line)["do"]
        if what in ("end", "error"):
            self.last = line
        elif what != "advance" or time.monotonic() - self.spoke > SPEAK_S:
            self.spoke = time.monotonic()
            self.said = self.ears.hear.remote(self.name, line)

    def flush(self) -> None: ...


def work(order: str, name: str, ears: Any) -> str:
    """A task's work: a stage done on whatever node this is. Returns the line that says how it ended."""
    import ray

    mouth, asked = Mouth(name, ears), json.loads(order)
    pipe = Pipe(mouth)
    pipe.say(f"on {socket.gethostname()}, node {ray.get_runtime_context().get_node_id()[:SHORT]}")
    os.chdir(asked["here"])  # a worker begins wherever its node was started
    carry_out(asked, pipe)
    ray.wait([mouth.said], timeout=LISTEN_S)  # the last of what was said, which is heard in its order
    return mouth.last


def environment(threads: int) -> dict[str, Any]:
    """What the tasks' processes are started with: as many threads, and the modules that are known here."""
    own = {name: str(threads) for name in THREAD_VARIABLES}
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return {"env_vars": {**own, "PYTHONPATH": paths}}


def connected(address: str) -> Any:
    """Ray, connected to the cluster: at `ray` the one that RAY_ADDRESS names or that this machine is part of, else one
    that is made of this machine alone. Raises RunError."""
    try:
        import ray
    except ImportError:
        raise RunError("--on ray hands stages to a Ray cluster; install it: pip install 'kd2deploy[ray]'") from None
    if ray.is_initialized():
        return ray
    named = address.removeprefix("ray").removeprefix("://")
    if named:
        reach(named)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as later versions do, and Ray says so each time
    try:
        ray.init(address=address if named else None, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise RunError(f"no Ray cluster could be joined at {address}: {first_line(error)}") from None
    return ray


def reach(place: str) -> None:
    """RunError where nobody listens at `host:port`."""
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise RunError(f"--on names a cluster as ray://host:port (10001 if nobody changed it), got ray://{place}")
    try:
        socket.create_connection((host, int(port)), timeout=REACH_S).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error) or "no answer"
        raise RunError(
            f"no Ray cluster answers at {place} ({why}); start one (`ray start --head`), or name its host and the port "
            "of its Ray clients"
        ) from None


def refuse_lacking(nodes: Sequence[Node], threads: int, gpu: bool) -> None:
    """RunError where no node can do what this machine does."""
    largest = max((node.cpus for node in nodes), default=0.0)
    if largest < threads:
        raise RunError(
            f"a training here has {count_of(threads, 'thread')}, and no node of the cluster has so many processors "
            f"(the largest has {largest:g}); set OMP_NUM_THREADS to that"
        )
    if torch.cuda.is_available() and not gpu:
        raise RunError("this machine trains on its GPU, and no node of the cluster has one; add one that has")


def check(ray: Any, nodes: Sequence[Node], folder: Path, started_with: Mapping[str, Any]) -> None:
    """RunError where a node does not see the run's folder, or would compute with other versions than this process."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    mark = folder.absolute() / f".seen-{uuid.uuid4().hex}"
    mark.touch()
    ask, how = ray.remote(about), {"num_cpus": 0, "runtime_env": started_with}
    on = [NodeAffinitySchedulingStrategy(node.id, soft=False) for node in nodes]
    asked = [ask.options(scheduling_strategy=one, **how).remote(str(mark), str(Path.cwd())) for one in on]
    try:
        found = ray.get(asked, timeout=CHECK_S)
    except ray.exceptions.RayError as error:
        raise RunError(
            f"a node of the cluster cannot run kd2deploy ({first_line(error)}); install it there as it is here"
        ) from None
    finally:
        mark.unlink()
    for node, told in zip(nodes, found, strict=True):
        refuse_other(node.host, told, folder)


def refuse_other(host: str, told: Mapping[str, Any], folder: Path) -> None:
    """RunError where a node says of itself that it is other than this machine."""
    here, there = known_versions(), told["versions"]
    other = [
        f"{name} {there.get(name, 'missing')} there and {here.get(name, 'missing')} here"
        for name in sorted({*here, *there})
        if there.get(name) != here.get(name)
    ]
    if other:
        raise RunError(f"the node {host} has other versions: {', '.join(other)}; install the same")
    if not told["folder"]:
        raise RunError(
            f"the node {host} does not see the run's folder {folder.absolute()}; put it where all nodes do (--out)"
        )
    if not told["here"]:
        raise RunError(
            f"the node {host} has no folder {Path.cwd()}, from which relative paths are read; give the command in one "
            "that all nodes see"
        )


def known_versions() -> dict[str, str]:
    """What results depend on: packages, and the state of this program between two of its versions."""
    return {"python": platform.python_version(), "layout of stages": str(LAYOUT), **versions()}


def about(mark: str, here: str) -> dict[str, Any]:
    """What a node says of itself, and whether it sees these two."""
    return {"versions": known_versions(), "folder": Path(mark).exists(), "here": Path(here).is_dir()}
