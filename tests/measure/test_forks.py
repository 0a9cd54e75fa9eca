"""Workers that are forked: fresh processes as others are, with what takes long to import already there."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from measured_sessions import CPU, HERE, Parity, numbered_rows, sum_artifact
from other_processes import PATIENCE_S

from kd2deploy.core import Artifact, made
from kd2deploy.errors import MeasureError, SessionError
from kd2deploy.exporters.torch import TorchSession
from kd2deploy.measure.accuracy import score
from kd2deploy.measure.forks import Forks
from kd2deploy.measure.processes import RUNNING, WorkerProcess
from kd2deploy.measure.timing import Contender

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all workers start from nothing")
ROWS = numbered_rows(50)


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as found:
        yield found


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return made(sum_artifact(tmp_path_factory.mktemp("forks")).path, opened_by=f"{HERE}.Forking")


def worker(artifact: Artifact, forks: Forks, **options: Any) -> WorkerProcess:
    return WorkerProcess(Contender("sum", artifact, options), Parity().spec(), CPU, PATIENCE_S, forks)


def test_each_is_a_process_of_its_own_and_sees_what_is_around_who_asks(
    artifact: Artifact, forks: Forks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forks.serving(artifact, CPU) is not None
    running = set(RUNNING)
    with worker(artifact, forks) as one:
        before = one.open()["describe"]
        monkeypatch.setenv("SAID", "since")
        monkeypatch.chdir(tmp_path)
        with worker(artifact, forks) as other:
            after = other.open()["describe"]
            assert running < RUNNING
            assert len(RUNNING - running) == 2
    assert before["parent"] == after["parent"] != str(os.getpid())
    assert before["pid"] != after["pid"]
    assert (before["said"], after["said"]) == ("", "since")
    assert after["in"] == str(tmp_path)
    assert after["omp"] == "1"
    assert running == RUNNING
    assert not any(psutil.pid_exists(int(each["pid"])) for each in (before, after))


def test_a_server_runs_from_when_it_is_asked_for_until_its_forks_end(artifact: Artifact) -> None:
    before = set(RUNNING)
    with Forks() as forks:
        first = forks.serving(artifact, CPU)
        assert forks.serving(artifact, CPU) is first is not None
        assert len(RUNNING - before) == 1
        assert first.serves()
    assert before == RUNNING
    assert not first.serves()


def test_it_scores_as_one_from_nothing_does(artifact: Artifact, tmp_path: Path) -> None:
    features = Parity().reader.encode(ROWS, Path())
    forked, plain = (
        score(Contender("sum", each), Parity(), CPU, features, ROWS) for each in (artifact, sum_artifact(tmp_path))
    )
    np.testing.assert_array_equal(forked.kept["logits"], plain.kept["logits"])


def test_its_own_errors_and_its_death_are_told_as_of_any_other(artifact: Artifact, forks: Forks) -> None:
    with worker(artifact, forks, provider="another") as refusing, pytest.raises(SessionError, match="only numpy"):
        refusing.open()
    features = Parity().reader.encode(ROWS, Path())
    with pytest.raises(MeasureError, match="ended with exit code 7 at 'outputs': out of something"):
        score(Contender("dies", artifact, {"fault": "dies"}), Parity(), CPU, features, ROWS, batch=2)
    with worker(artifact, forks) as killed:
        os.kill(int(killed.open()["describe"]["pid"]), signal.SIGKILL)
        with pytest.raises(MeasureError, match="was killed by signal 9"):
            killed.ask("describe")


def test_a_server_that_dies_is_told_and_another_takes_its_place(artifact: Artifact, forks: Forks) -> None:
    server = forks.serving(artifact, CPU)
    assert server is not None
    with worker(artifact, forks) as orphan:
        found = orphan.open()["describe"]
        psutil.Process(int(found["parent"])).kill()
        assert orphan.ask("describe")["describe"]["pid"] == found["pid"]
        with Path("/dev/null").open("wb") as nowhere, pytest.raises(MeasureError, match="forked from has ended"):
            server.fork(nowhere)
        with worker(artifact, forks) as other:
            assert other.open()["describe"]["parent"] != found["parent"]


def test_without_a_server_a_worker_starts_from_nothing(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(f"{HERE}.Forking.slow_imports", ("no_such_module",))
    with caplog.at_level("INFO"), Forks() as forks, worker(artifact, forks) as alone:
        assert alone.open()["describe"]["parent"] == str(os.getpid())
    assert "No module named 'no_such_module'; the worker starts from nothing" in caplog.text


def test_a_device_and_a_session_with_nothing_slow_start_from_nothing(artifact: Artifact, tmp_path: Path) -> None:
    with Forks() as forks:
        assert forks.serving(sum_artifact(tmp_path), CPU) is None
        assert forks.serving(artifact, replace(CPU, device="cuda")) is None
        assert forks.serving(replace(artifact, opened_by="os.system"), CPU) is None


def test_networks_as_pytorch_runs_them_say_what_is_slow() -> None:
    assert TorchSession.slow_imports[0] == "torch"
    assert TorchSession.slow_imports[-1] == "kd2deploy.exporters.torch"
