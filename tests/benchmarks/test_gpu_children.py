"""Parts in processes of their own: stopped, crashed or failed, they leave what they had found."""

import os
import signal
import time
from pathlib import Path

import pytest
from _gpu_children import Attempt, attempt, left_out, write
from other_processes import PATIENCE_S


def finishes(out: Path, *, value: int) -> None:
    write({"value": value}, out)


def lingers(out: Path) -> None:
    time.sleep(10 * PATIENCE_S)


def dies(out: Path) -> None:
    write({"value": 1}, out)
    os.kill(os.getpid(), signal.SIGKILL)


def fails(out: Path) -> None:
    raise ValueError("a reason")


def attempted(part: object, folder: Path, limit_s: float = PATIENCE_S, **arguments: int) -> Attempt:
    return attempt("one part", part, folder, limit_s, "spawn", arguments)  # type: ignore[arg-type]


def test_what_a_part_found_comes_back(tmp_path: Path) -> None:
    done = attempted(finishes, tmp_path, value=3)
    assert (done.found, done.reason) == ({"value": 3}, "")


def test_a_part_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    done = attempted(lingers, tmp_path, limit_s=0.2)
    assert done.reason == "stopped after 0.2 s"
    assert done.seconds < 10 * PATIENCE_S


def test_a_part_that_is_killed_says_by_what_and_keeps_what_it_found(tmp_path: Path) -> None:
    done = attempted(dies, tmp_path)
    assert done.found == {"value": 1}
    assert done.reason.startswith("killed by SIGKILL")


def test_a_part_that_fails_says_its_last_line(tmp_path: Path) -> None:
    assert attempted(fails, tmp_path).reason == "ended with 1: ValueError: a reason"


def test_a_part_without_time_is_not_started(tmp_path: Path) -> None:
    assert attempted(fails, tmp_path, limit_s=0.0).reason == "the time was up"


def test_what_cannot_be_done_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, list[object]] = {"left_out": []}
    with left_out(found, network="bert"):
        raise MemoryError("out of memory")
    assert found["left_out"] == [{"network": "bert", "reason": "MemoryError: out of memory"}]
    assert "Traceback" in capsys.readouterr().err
