"""Stages in processes of their own: the same students to the bit, also after a kill, and errors as they are raised."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from other_processes import ELSEWHERE, all_end, at_work, wait_until
from recipes.small_run import recipe, written

from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.errors import Killed, RunError, TrainError
from kd2deploy.flows.compress import compress
from kd2deploy.recipe import Recipe
from kd2deploy.run import Done, Run, Stage
from kd2deploy.stages.executor import IN_ORDER, Executor, Processes, dealt, executor_for, shown

HERE = "stages.test_executor"


def told(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """A stage's work: says who did it, and with how many threads."""
    tell.advance("counting", 1, 2)
    (folder / "process").write_text(str(os.getpid()))
    return {"threads": torch.get_num_threads(), "given": inputs["given"]}


def failing(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    raise TrainError("the loss is not finite; lower learning_rate")


def dying(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def killed(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """Stands for a stage one of whose own processes was killed."""
    raise Killed("it was killed by signal 9")


def measuring(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """Says how many others do stages."""
    return {"process": os.getpid(), "others": len(at_work(ELSEWHERE))}


def device(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    return {"visible": os.environ.get("CUDA_VISIBLE_DEVICES")}


def stage(name: str, work: str, **more: Any) -> Stage:
    return Stage(name, {"name": name}, {}, f"{HERE}.{work}", {"given": 3}, **more)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run(tmp_path / "run").locked() as held:
        yield held


@pytest.mark.recipe
def test_stages_are_done_by_other_processes_and_come_back_in_their_order(run: Run) -> None:
    names = ["c", "a", "b"]
    done = Processes(2).map(run, [stage(name, "told") for name in names], Silent())
    assert [one.name for one in done] == [one.name for one in run.done] == names
    assert all(one.result == {"threads": 1, "given": 3} and not one.reused for one in done)
    processes = {int(one.path("process").read_text()) for one in done}
    assert os.getpid() not in processes
    assert not any(psutil.pid_exists(process) for process in processes)
    again = IN_ORDER.map(run, [stage(name, "told") for name in names], Silent())
    assert [one.sha256 for one in again] == [one.sha256 for one in done]
    assert all(one.reused for one in again)


@pytest.mark.recipe
def test_what_measures_is_done_here_once_no_other_process_is_left(run: Run) -> None:
    stages = [stage("first", "measuring", needs="target"), stage("one", "told"), stage("other", "told")]
    first, one, other = Processes(2).map(run, stages, Silent())
    assert first.result == {"process": os.getpid(), "others": 0}
    assert os.getpid() not in {int(each.path("process").read_text()) for each in (one, other)}


@pytest.mark.recipe
def test_each_process_has_a_gpu_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    done = Processes(2).map(run, [stage("one", "device"), stage("other", "device")], Silent())
    assert {one.result["visible"] for one in done} == {"5", "GPU-7"}


def test_gpus_are_dealt_out_in_turn_as_cuda_names_them() -> None:
    assert shown(None, 2) == ["0", "1"]
    assert shown("3, MIG-a,7", 3) == ["3", "MIG-a", "7"]
    assert shown("1,nonsense,2", 1) == ["1"]
    assert shown("", 0) == shown(None, 0) == []
    assert dealt(5, ["a", "b"]) == ["a", "b", "a", "b", "a"]
    assert dealt(1, ["a", "b"]) == ["a"]
    assert dealt(2, []) == [None, None], "they see what this process sees"


@pytest.mark.recipe
@pytest.mark.parametrize("executor", [IN_ORDER, Processes(2)])
def test_an_error_that_is_spared_stands_in_its_stages_place_and_the_others_go_on(run: Run, executor: Executor) -> None:
    stages = [stage("bad", "failing"), stage("good", "told"), stage("better", "told")]
    found = {one.name: came for one, came in executor.each(run, stages, Silent(), {"bad"})}
    assert isinstance(found["bad"], TrainError)
    assert all(isinstance(found[name], Done) for name in ("good", "better"))
    with pytest.raises(RunError, match="killed by signal 9"):
        list(Processes(2).each(run, [stage("dead", "dying")], Silent(), {"dead"}))


@pytest.mark.recipe
def test_leaving_what_is_half_done_ends_its_processes(run: Run) -> None:
    before = at_work()
    each = Processes(2).each(run, [stage(name, "told") for name in "abcd"], Silent())
    next(each)
    each.close()
    assert at_work() <= before


@pytest.mark.recipe
@pytest.mark.parametrize(
    ("work", "kind", "words"), [("failing", TrainError, "lower learning_rate"), ("dying", RunError, "fewer --jobs")]
)
def test_an_error_elsewhere_is_raised_here(run: Run, work: str, kind: type[Exception], words: str) -> None:
    before = at_work()
    with pytest.raises(kind, match=words):
        Processes(2).map(run, [stage("good", "told"), stage("bad", work)], Silent())
    assert at_work() <= before


def test_a_kill_is_never_spared(run: Run) -> None:
    with pytest.raises(Killed):
        list(IN_ORDER.each(run, [stage("dead", "killed")], Silent(), {"dead"}))


def test_a_stage_is_plain_values(run: Run) -> None:
    assert Stage(**asdict(stage("one", "told"))) == stage("one", "told")


def test_threads_that_were_divided_once_are_kept_until_somebody_asks_again(run: Run) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        assert executor_for(run, None).divided is None
        assert executor_for(run, 2).divided == 2
        assert executor_for(run, None).divided == 2
        assert executor_for(run, 1).divided is None
        assert executor_for(run, None).divided is None
    finally:
        torch.set_num_threads(before)
    with pytest.raises(RunError, match="--jobs"):
        executor_for(run, 0)


def test_one_thread_cannot_be_divided_so_nothing_is_told_apart(run: Run) -> None:
    assert torch.get_num_threads() == 1
    assert executor_for(run, 2).divided is None


def students(folder: Path) -> dict[str, str]:
    """Hashes of all trained weights, by the stage's whole name, fingerprint included."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (folder / "stages").glob("*seed*/*/model.safetensors")
    }


@pytest.mark.recipe
def test_two_jobs_train_the_same_students_to_the_bit_also_where_they_were_killed(tmp_path: Path) -> None:
    file = written(tmp_path, seeds=[0, 1])
    compress(Recipe.parse(recipe(tmp_path, seeds=[0, 1])), tmp_path / "one", until="distill")
    command = [sys.executable, "-m", "kd2deploy", "distill", str(file), "--jobs", "2", "--out", str(tmp_path / "two")]
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    killed = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.DEVNULL)
    checkpoints = ".student-seed*/training-0/checkpoint-*/whole.json"
    wait_until(lambda: list((tmp_path / "two" / "stages").glob(checkpoints)), killed)
    workers = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    killed.wait()
    assert workers
    assert all_end(workers), "what it started ends with it"
    compress(Recipe.parse(recipe(tmp_path, seeds=[0, 1])), tmp_path / "two", until="distill", jobs=2)
    assert students(tmp_path / "two") == students(tmp_path / "one")
    assert len(students(tmp_path / "one")) == 4
    assert not list((tmp_path / "two" / "stages").glob(".*"))
