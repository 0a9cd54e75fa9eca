"""A run whose trainings two processes share, from the command line under a launcher, the teacher in shards; killed on
its way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from other_processes import all_end, wait_until
from recipes.small_run import recipe, written
from safetensors.torch import load_file

from kd2deploy.errors import RecipeError
from kd2deploy.flows.compress import compress
from kd2deploy.recipe import Recipe
from kd2deploy.train.shards import FILLED

TRAINING = {
    "method": "dist",
    "epochs": 3,
    "learning_rate": 0.02,
    "optimizer": "sgd",
    "group_by_length": False,
    "keep": "last",
    "checkpoint_every": 2,
}


def changes(folder: Path, **settings: object) -> dict[str, object]:
    """A run of one student without dropout, by a teacher that comes as it is."""
    teacher = folder / "encoder"
    if not teacher.exists():
        recipe(folder)
        config = json.loads((teacher / "config.json").read_text())
        config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        (teacher / "config.json").write_text(json.dumps(config))
    return {"teacher": {"from": str(teacher)}, "distill": [{**TRAINING, **settings}], "control": False}


@pytest.mark.recipe
def test_under_torchrun_the_first_leads_trainings_that_two_share_and_a_kill_ends_all(tmp_path: Path) -> None:
    run = tmp_path / "two"
    file = written(tmp_path, **changes(tmp_path, batch=8))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, "-m", "kd2deploy", "distill", str(file), "--out", str(run)]
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    configured = {"ACCELERATE_USE_FSDP": "true"}  # as `accelerate launch --use_fsdp` sets it
    environment = {**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "", **configured}
    launched = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: list((run / "stages").glob(".student-seed*/training-0/checkpoint-*/whole.json")), launched)
    started = psutil.Process(launched.pid).children(recursive=True)
    leader = next(process for process in started if "kd2deploy" in process.cmdline())
    leader.kill()
    assert launched.wait() != 0
    assert all_end(started), "what was started ends with the one that leads"

    shared, alone = tmp_path / "two", tmp_path / "one"
    assert not list((shared / "cache").rglob(FILLED)), "a teacher in shards answers no row beforehand"
    compress(Recipe.read(file).shared_by(2, shard_teacher=True), shared, until="distill")
    assert len(list(shared.glob("stages/*student-seed0-*"))) == 1, "it went on with the training that was killed"
    compress(Recipe.parse(recipe(tmp_path, **changes(tmp_path, batch=16))), alone, until="distill")
    (mine,), (theirs,) = (folder.glob("stages/student-seed0-*/student/model.safetensors") for folder in (shared, alone))
    weights = load_file(theirs)
    for name, weight in load_file(mine).items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-2, atol=2e-4, msg=name)


def test_fewer_rows_than_processes_and_gpus_that_are_not_there_are_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Recipe.parse(recipe(tmp_path, **changes(tmp_path, processes=200)))
    with pytest.raises(RecipeError, match=r"distill\[0\].processes: is 200, and there are 144 rows to train on"):
        compress(few, tmp_path / "few", until="distill")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    two = Recipe.parse(recipe(tmp_path, **changes(tmp_path, processes=2)))
    with pytest.raises(RecipeError, match=r"processes: is 2, each with a GPU of its own, and torch shows 1 GPU here"):
        compress(two, tmp_path / "two", until="distill")
    with pytest.raises(RecipeError, match="--jobs: gives each training one GPU, and processes: 2 gives it as many"):
        compress(two, tmp_path / "jobs", until="distill", jobs=2)
    assert [list((tmp_path / name / "stages").iterdir()) for name in ("few", "two", "jobs")] == [[], [], []]
