"""What is shown while a run works: bars on a real (pseudo) terminal, lines where there is none."""

import logging
import os
import pty
import re
import sys
import time

import pytest
from other_processes import PATIENCE_S

from kd2deploy.cli.progress import Lines, Warnings, beating, in_time, on_terminal
from kd2deploy.cli.screen import Screen, logging_at, showing

DRAWN = """
import fcntl, os, struct, sys, termios, time, tty
fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
tty.setcbreak(0)
from kd2deploy.cli.progress import on_terminal
with on_terminal() as watcher:
    os.read(0, 1)
    watcher.stage("student-seed0", "running")
    os.read(0, 1)
    for step in range(1, 9):
        watcher.advance("training", step, 400, f"loss {1 / step:.3f}")
        time.sleep(0.15)
    os.read(0, 1)
    watcher.warn("data.csv [tensorrt] holds one row twice")
    watcher.stage("student-seed0", "done")
"""
"""Goes on whenever it is told that what it draws was seen."""
STARTING, MOVING, COUNTING = "starting", r"student-seed0 +\S*[━╺╸]", r"student-seed0: training .* left"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def drawn() -> list[str]:
    """All that a terminal of 80 columns was sent, line by line, without colours."""
    child, master = pty.fork()
    if child == 0:  # pragma: no cover - another process
        os.environ["TERM"] = "xterm-256color"
        os.environ.pop("COLUMNS", None)
        os.execv(sys.executable, [sys.executable, "-c", DRAWN])
    said, deadline = bytearray(), time.monotonic() + PATIENCE_S
    for awaited in (STARTING, MOVING, COUNTING):
        while not any(re.search(awaited, line) for line in lines_of(said)):
            assert time.monotonic() < deadline, f"{awaited} was not drawn"
            assert read(master, said), f"it ended before {awaited} was drawn"
        os.write(master, b".")
    while read(master, said):
        pass
    os.close(master)
    assert os.waitpid(child, 0)[1] == 0
    return lines_of(said)


def lines_of(said: bytes | bytearray) -> list[str]:
    return re.split(r"[\r\n]+", CONTROL.sub("", said.decode(errors="replace")))


def read(master: int, said: bytearray) -> bool:
    """Add what comes to what was said; whether something came."""
    try:
        found = os.read(master, 1 << 16)
    except OSError:  # how Linux says that the other end is closed
        return False
    said += found
    return bool(found)


def test_a_bar_moves_before_anything_is_known(drawn: list[str]) -> None:
    assert any(STARTING in line for line in drawn)
    assert any(re.search(MOVING, line) for line in drawn)


def test_a_bar_has_amount_rate_loss_time_and_what_is_left_within_80_columns(drawn: list[str]) -> None:
    bars = [line for line in drawn if "student-seed0: training" in line and "left" in line]
    assert bars
    assert re.search(r"━.* \d/400 .*\d/s +loss 0\.\d{3} +\d+ s, .* left", bars[-1]), bars[-1]
    assert all(len(line) <= 80 for line in drawn)


def test_brackets_in_a_warning_survive(drawn: list[str]) -> None:
    assert "warning data.csv [tensorrt] holds one row twice" in drawn


def test_the_stage_is_left_on_the_screen_with_its_time(drawn: list[str]) -> None:
    assert any(re.fullmatch(r"done   student-seed0  \(\d+ s\)", line) for line in drawn)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_tells_stage_share_loss_rate_and_time_left() -> None:
    said: list[str] = []
    clock = Clock()
    lines = Lines(said.append, clock)
    lines.beat()
    lines.stage("student-seed0", "running")
    lines.beat()
    lines.advance("training", 100, 400)
    clock.now = 20.0
    lines.advance("training", 140, 400, "loss 0.512")
    lines.beat()
    clock.now = 90.0
    lines.stage("student-seed0", "done")
    assert said == [
        "starting, 0 s elapsed",
        "start  student-seed0",
        "student-seed0, 0 s elapsed",
        "student-seed0: training 140/400 (35%), loss 0.512, 2/s, 20 s elapsed, 2:10 left",
        "done   student-seed0  (1:30)",
    ]


def test_a_line_comes_also_while_nothing_is_heard() -> None:
    import threading

    heard = threading.Event()
    with beating(heard.set, every_s=0.01):
        assert heard.wait(PATIENCE_S)


def test_silence_leaves_the_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    with showing(Screen(quiet=True)), on_terminal() as watcher:
        assert isinstance(watcher, Warnings)
        watcher.stage("measure", "running")
        watcher.advance("timing", 1, 2)
        watcher.say("a line")
        watcher.warn("rows [1] and [2] are equal")
    assert capsys.readouterr() == ("", "warning: rows [1] and [2] are equal\n")


def test_without_a_terminal_nothing_is_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    text = "word " * 60
    with on_terminal() as watcher:
        watcher.say(text)
    assert text + "\n" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0 s"), (59, "59 s"), (184, "3:04"), (3753, "1:02:33")])
def test_time_in_words(seconds: float, shown: str) -> None:
    assert in_time(seconds) == shown


def test_a_line_of_the_log_comes_once_though_a_runtime_gives_the_root_logger_a_handler(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, other = logging.getLogger(), logging.StreamHandler(sys.stderr)  # as onnxruntime's quantization does
    root.addHandler(other)
    try:
        with logging_at("info"):
            logging.getLogger("kd2deploy.run").info("look is made")
    finally:
        root.removeHandler(other)
    assert capsys.readouterr().err == "info: kd2deploy.run: look is made\n"
    assert logging.getLogger("kd2deploy").propagate
