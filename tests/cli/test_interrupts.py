"""Signals that come where Python lets nothing be raised."""

import subprocess
import sys

import pytest
from other_processes import PATIENCE_S

FINALIZED = """
import os, signal, sys, time
from kd2deploy.cli.interrupts import end_at_signals

class Closed:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        time.sleep(0)  # the handler runs here, and what it raises is ignored

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background without it
end_at_signals()
try:
    Closed()
    print("closed", flush=True)
    time.sleep(20)
except KeyboardInterrupt as end:
    print(type(end).__name__)
"""


@pytest.mark.parametrize(("number", "end"), [("15", "Terminated"), ("2", "KeyboardInterrupt")])
def test_a_signal_that_comes_in_a_finalizer_is_not_lost(number: str, end: str) -> None:
    done = subprocess.run([sys.executable, "-c", FINALIZED, number], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.split() == ["closed", end]
    assert done.stderr == ""


def test_what_else_a_finalizer_raises_is_shown_as_ever() -> None:
    code = FINALIZED.replace("os.kill(os.getpid(), int(sys.argv[1]))", "raise ValueError('x')").replace("(20)", "(0)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.split() == ["closed"]
    assert "Exception ignored in" in done.stderr
