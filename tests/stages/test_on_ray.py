"""Stages on a Ray cluster of two nodes that Ray itself sets up here: the same students to the bit, one node killed in
the middle; what measures stays here; what cannot be done there is refused in one line."""

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from other_processes import PATIENCE_S
from recipes.small_run import recipe

from kd2deploy.core.artifact import sha256_of
from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.errors import RunError, TrainError
from kd2deploy.flows.compress import compress
from kd2deploy.recipe import Recipe
from kd2deploy.run import Done, Run, Stage
from kd2deploy.stages.executor import Cluster, Executor, executor_for
from kd2deploy.stages.on_ray import SHORT, Node, connected, known_versions, reach, refuse_lacking, refuse_other

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.recipe, pytest.mark.filterwarnings("ignore::ResourceWarning")]

HERE = "stages.test_on_ray"
EPOCHS = 25
"""Of a training that is still on when its node is killed."""
STORE = 80 * 2**20
"""Bytes of each node's object store, which nothing is put into."""
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
"""So that a node that was killed is missed soon."""


def told(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """A stage's work: says who did it."""
    tell.say("at work")
    return {"process": os.getpid(), "node": os.environ.get("RAY_NODE_ID", "")}


def failing(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    raise TrainError("the loss is not finite; lower learning_rate")


def stage(name: str, work: str, **more: Any) -> Stage:
    return Stage(name, {"name": name}, {}, f"{HERE}.{work}", **more)


class Listening(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.said: list[str] = []

    def stage(self, name: str, state: str) -> None:
        if state == "running":
            self.running.append(name)

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster with a head that does nothing and two nodes of a processor each."""
    from ray.cluster_utils import Cluster as Nodes

    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False, "_system_config": QUICK}
    with pytest.MonkeyPatch.context() as moment:
        for name, value in (("RAY_USAGE_STATS_ENABLED", "0"), ("RAY_AUTH_MODE", "disabled")):  # keeps home as it is
            moment.setenv(name, value)
        found = Nodes(initialize_head=True, head_node_args=head)
        for _ in range(2):
            found.add_node(num_cpus=1, object_store_memory=STORE)
        moment.setenv("RAY_ADDRESS", found.address)
        try:
            yield found
        finally:
            ray.shutdown()
            found.shutdown()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run(tmp_path / "run").locked() as held:
        yield held


@pytest.fixture
def cluster(nodes: Any, run: Run) -> Executor:
    return executor_for(run, Cluster("ray"))


def test_stages_are_done_by_the_nodes_and_come_back_in_their_order(cluster: Executor, run: Run) -> None:
    names, listening = ["c", "a", "b"], Listening()
    done = cluster.map(run, [stage(name, "told") for name in names], listening)
    assert cluster.width == 2
    assert [one.name for one in done] == [one.name for one in run.done] == names
    assert os.getpid() not in {one.result["process"] for one in done}
    assert "c: at work" in listening.said
    assert any(line.startswith("c: on ") for line in listening.said)
    again = cluster.map(run, [stage(name, "told") for name in names], Silent())
    assert all(one.reused for one in again)
    assert not list(run.folder.glob(".seen-*"))


def test_what_measures_is_done_here(cluster: Executor, run: Run) -> None:
    measured, other = cluster.map(run, [stage("t", "told", needs="target"), stage("o", "told")], Silent())
    assert measured.result["process"] == os.getpid()
    assert other.result["process"] != os.getpid()


def test_an_error_there_is_the_error_here(cluster: Executor, run: Run) -> None:
    stages = [stage("bad", "failing"), stage("good", "told")]
    with pytest.raises(TrainError, match="lower learning_rate"):
        cluster.map(run, stages, Silent())
    outcomes = {one.name: came for one, came in cluster.each(run, stages, Silent(), spared={"bad"})}
    assert isinstance(outcomes["bad"], TrainError)
    assert isinstance(outcomes["good"], Done)


def test_students_are_the_same_to_the_bit_with_a_node_killed_in_the_middle(nodes: Any, tmp_path: Path) -> None:
    training = {"method": "logit", "epochs": EPOCHS, "learning_rate": 5e-3, "batch": 16, "checkpoint_every": 5}
    wanted = Recipe.parse(recipe(tmp_path, distill=[training], seeds=[0, 1], control=False))
    compress(wanted, tmp_path / "here", until="distill")
    own = connected("ray").get_runtime_context().get_node_id()
    victim = next(node for node in nodes.worker_nodes if node.node_id != own)
    listening = Listening()
    killer = threading.Thread(target=kill_in_training, args=(nodes, victim, tmp_path / "there", listening))
    killer.start()
    compress(wanted, tmp_path / "there", listening, until="distill", jobs=Cluster("ray"))
    killer.join()
    assert victim not in nodes.worker_nodes
    assert sum(name.startswith("student-seed") for name in listening.running) == 3, "one was started again"
    one, other = (weights(tmp_path / name) for name in ("here", "there"))
    assert one == other
    assert len(one) == 2


def kill_in_training(nodes: Any, victim: Any, run: Path, listening: Listening) -> None:
    """Kill a node as soon as the student that it trains has a checkpoint."""
    deadline, begun = time.monotonic() + PATIENCE_S, False
    while not begun and time.monotonic() < deadline:
        time.sleep(0.01)
        there = [line.split(":")[0] for line in listening.said if line.endswith(f"node {victim.node_id[:SHORT]}")]
        with suppress(FileNotFoundError):
            begun = bool(there) and bool(list(run.glob(f"stages/.{there[0]}-*/training-0/checkpoint-*")))
    nodes.remove_node(victim, allow_graceful=False)


def weights(run: Path) -> dict[str, str]:
    """Hashes of the students' weights by stage, fingerprint included."""
    return {file.parts[-3]: sha256_of(file) for file in run.glob("stages/student-seed*/student/model.safetensors")}


def test_a_cluster_that_nobody_runs_is_refused_in_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RunError, match=rf"no Ray cluster answers at 127.0.0.1:{port}"):
        reach(f"127.0.0.1:{port}")
    with pytest.raises(RunError, match=r"ray://host:port"):
        reach("somewhere")


def test_what_no_node_has_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small = [Node("1", "one", 2.0, 0.0)]
    with pytest.raises(RunError, match=r"8 threads.*the largest has 2\); set OMP_NUM_THREADS"):
        refuse_lacking(small, 8, gpu=False)
    refuse_lacking(small, 2, gpu=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(RunError, match="no node of the cluster has one"):
        refuse_lacking(small, 2, gpu=False)
    same = known_versions()
    fine = {"versions": same, "folder": True, "here": True}
    refuse_other("one", fine, tmp_path)
    for other, said in (
        ({"versions": {**same, "torch": "1.0"}}, r"torch 1\.0 there and .* here; install the same"),
        ({"folder": False}, "does not see the run's folder"),
        ({"here": False}, "from which relative paths are read"),
    ):
        with pytest.raises(RunError, match=said):
            refuse_other("one", {**fine, **other}, tmp_path)
