"""A training that two processes share: the student of one process with twice the batch; one launch for all of it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from child_of_two import ALONE, METHODS, SHARED, method_called, trained
from other_processes import PATIENCE_S
from safetensors.torch import load_file

from kd2deploy.train.arguments import sharing_fault
from kd2deploy.train.length import counts, steps_of

CHILD = Path(__file__).with_name("child_of_two.py")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have trained."""
    folder = tmp_path_factory.mktemp("shared")
    launched = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]  # on a free port
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    done = subprocess.run(
        [*launched, str(CHILD), str(folder)],
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return folder


def said(shared: Path) -> tuple[dict[str, object], dict[str, object]]:
    first, second = (json.loads((shared / f"{rank}.json").read_text()) for rank in range(2))
    return first, second


@pytest.mark.recipe
@pytest.mark.parametrize("name", METHODS)
def test_it_gives_the_student_of_one_process_with_twice_the_batch(name: str, shared: Path, tmp_path: Path) -> None:
    alone = trained(tmp_path, method_called(name, **METHODS[name]), ALONE).state_dict()
    for key, weight in load_file(shared / name / "student.safetensors").items():
        torch.testing.assert_close(weight, alone[key], rtol=1e-3, atol=2e-5, msg=key)
    mine, theirs = (json.loads((at / "trained.json").read_text())["trained"] for at in (shared / name, tmp_path))
    assert mine["steps"] == theirs["steps"] == 6
    for one, other in zip(mine["history"], theirs["history"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4), "the loss is the mean over the processes"
        assert one["score"] == pytest.approx(other["score"], rel=1e-4)


@pytest.mark.recipe
def test_both_processes_hold_the_same_student_and_draw_other_numbers(shared: Path) -> None:
    first, second = said(shared)
    assert all(first[name] == second[name] for name in (*METHODS, "whole", "stopped"))
    assert not set(first["seeds"]) & set(second["seeds"])  # type: ignore[call-overload]


@pytest.mark.recipe
def test_it_goes_on_from_a_checkpoint_to_the_same_student_to_the_bit(shared: Path) -> None:
    first, _ = said(shared)
    assert first["left"] == ["checkpoint-4"]
    whole, stopped = (load_file(shared / name / "student.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(weight, stopped[name]) for name, weight in whole.items())
    histories = [json.loads((shared / name / "trained.json").read_text())["trained"] for name in ("whole", "stopped")]
    assert histories[0]["history"] == histories[1]["history"]


@pytest.mark.recipe
def test_other_processes_than_the_settings_say_are_refused(shared: Path) -> None:
    assert all("the settings say processes: 1, and 2 are there" in str(found["refused"]) for found in said(shared))


def test_what_cannot_be_shared_is_said_with_its_remedy() -> None:
    assert sharing_fault(1, 0, 0) == sharing_fault(2, 2, 0) == sharing_fault(2, 2, 2) == sharing_fault(1, 9, 4) == ""
    assert "is 3, and there are 2 rows to train on, not one for each" in sharing_fault(3, 2, 0)
    assert "torch shows 1 GPU here; set it to 1, or hide all" in sharing_fault(2, 9, 1)


def test_a_method_for_one_process_is_refused_by_the_engine_too(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"processes is 2, and the method is for one process alone: it has an optimizer"
    ):
        trained(tmp_path, method_called("lmcl"), SHARED)


def test_an_epoch_has_as_many_steps_less_as_there_are_processes() -> None:
    assert counts(replace(SHARED, steps=None), 24) == (3, 3)
    assert counts(replace(SHARED, steps=None), 25) == (4, 4)
    assert steps_of(replace(SHARED, steps=None, epochs=2), 24) == 6
