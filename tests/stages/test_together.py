"""Work that several processes do together: what the first gives comes back, and so does what any of them raises."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from other_processes import at_work

from kd2deploy.core.ranks import rank
from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.errors import Fault, Killed, RecipeError
from kd2deploy.stages.together import shared

HERE = "stages.test_together"


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def advance(self, what: str, done: float, total: float, note: str = "") -> None:
        self.lines.append((what, done, total, note))


def working(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """What all see of each other; then `how` one of them ends."""
    found: list[Any] = [None, None]
    dist.all_gather_object(found, os.getpid())
    tell.advance("counting", rank() + 1, 2, "loss 1.000")
    if spec["how"] == "refused" and rank() == 1:
        raise RecipeError([Fault("distill[0]", "is too hot")])
    if spec["how"] == "killed" and rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if spec["how"] != "well":
        dist.barrier()  # the other waits for one that is gone
    (folder / f"{rank()}").touch()
    return {"processes": found, "given": inputs["given"], "rank": rank()}


def done(how: str, folder: Path, tell: Watcher) -> Mapping[str, Any]:
    return shared(2, f"{HERE}.working", {"how": how}, {"given": 3}, folder, tell)


@pytest.mark.recipe
def test_what_the_first_gives_and_tells_comes_back(tmp_path: Path) -> None:
    heard = Heard()
    found = done("well", tmp_path, heard)
    assert (found["given"], found["rank"]) == (3, 0)
    assert len({*found["processes"], os.getpid()}) == 3
    assert heard.lines == [("counting", 1, 2, "loss 1.000")]
    assert {"0", "1"} < {file.name for file in tmp_path.iterdir()}
    assert not at_work("kd2deploy.stages.together")


@pytest.mark.recipe
def test_what_any_of_them_raises_is_raised_here_and_none_is_left(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as refused:
        done("refused", tmp_path, Silent())
    assert [(fault.path, fault.message) for fault in refused.value.faults] == [("distill[0]", "is too hot")]
    assert not at_work("kd2deploy.stages.together")
    assert not (tmp_path / "0").exists()


@pytest.mark.recipe
def test_one_that_is_killed_ends_the_others_and_is_told(tmp_path: Path) -> None:
    with pytest.raises(Killed, match="of 2 that trained together one was killed by signal 9"):
        done("killed", tmp_path, Silent())
    assert not at_work("kd2deploy.stages.together")
