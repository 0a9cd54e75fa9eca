"""Whose the processor's time was: ours is also what a process spent that another one of ours has started."""

import subprocess
import sys

from kd2deploy.measure.neighbours import in_use

SPENT_S = 0.5
SPEND = f"""
import os, sys, time
if os.fork() == 0:
    while sum(os.times()[:2]) < {SPENT_S}:
        pass
    os._exit(0)
os.wait()
print("done", flush=True)
sys.stdin.read()
"""


def test_what_a_process_of_ours_has_had_done_is_ours_while_it_lives_and_when_it_has_ended() -> None:
    before = in_use().by_us_s
    server = subprocess.Popen([sys.executable, "-c", SPEND], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"done\n"
        alive = in_use().by_us_s
        assert alive - before >= SPENT_S
        server.communicate()
    assert in_use().by_us_s >= alive, "it is not lost, and not counted twice"
    assert in_use().by_us_s - before < 2 * (alive - before)
