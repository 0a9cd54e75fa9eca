"""Ten thousand mutated files through every reader, in a process of its own that watches what is executed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
COUNT = 10_000


@pytest.mark.recipe
def test_whatever_a_file_holds_it_is_read_or_refused_and_nothing_runs(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--count", str(COUNT), "--seed", "0", "--out", str(out)],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert out.is_file(), f"a file ended the process: {done.stderr[-2000:]}"
    found = json.loads(out.read_text())
    assert found["faults"] == []
    assert found["files"] == COUNT
    assert all(kind["refused"] for kind in found["kinds"].values()), "each kind was broken at least once"


def test_the_watch_sees_what_is_executed() -> None:
    """A process with the same watch, where something is run: a fuzzer that cannot find anything proves nothing."""
    code = (
        f"import sys, os, subprocess; sys.path[:0] = [{str(TESTS)!r}]; from fuzz.__main__ import Watch\n"
        "watch = Watch(); sys.addaudithook(watch); watch.on = True\n"
        "subprocess.run(['true']); os.system('true'); watch.on = False\n"
        "print(sorted({one.split()[0] for one in watch.seen}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "os.system" in done.stdout
    assert "subprocess.Popen" in done.stdout
