"""Change one thing at a time in the methods' files and count which changes their tests notice (extra `mutation`).

    nice -n 15 python benchmarks/mutants.py --minutes 15 dkd dist hidden > mutants.json

mutmut makes the mutants and runs, for each, what reaches it of the named methods' tests, `tests/methods/test_*.py`.
Wording is left alone: lines that begin with a string. What the time was too short for is counted, and every survivor is
shown as a diff.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kd2deploy.measure.machine import describe_machine

ROOT = Path(__file__).parents[1]
KILLED, SURVIVED, TIMEOUT = "killed", "survived", "timeout"
TESTED = ("conftest.py", "whole_numbers.py", "documented_methods.py", "methods", "parity")
OF_ALL = ("tests/methods/test_refusals.py", "tests/methods/test_defaults.py")
WORDING = (r'^\s*f?"', r"raise ValueError\(")
CONFIG = """[mutmut]
source_paths =
    kd2deploy
only_mutate =
{files}
also_copy =
    docs
pytest_add_cli_args =
    -p
    no:cacheprovider
pytest_add_cli_args_test_selection =
{tests}
do_not_mutate_patterns =
{wording}
process_isolation = forkserver
timeout_constant = 20
"""


def copied(folder: Path, methods: list[str]) -> None:
    """What a run needs, in a folder of its own: mutmut writes beside what it reads."""
    shutil.copytree(ROOT / "kd2deploy", folder / "kd2deploy", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").mkdir()
    for name in TESTED:
        source, place = ROOT / "tests" / name, folder / "tests" / name
        shutil.copytree(source, place) if source.is_dir() else shutil.copy(source, place)
    (folder / "docs").mkdir()
    for name in ("pyproject.toml", "docs/methods.md"):
        shutil.copy(ROOT / name, folder / name)
    lines = {
        "files": [f"kd2deploy/methods/{name}.py" for name in methods],
        "tests": [*(f"tests/methods/test_{name.removeprefix('_')}.py" for name in methods), *OF_ALL],
        "wording": WORDING,
    }
    config = CONFIG.format(**{key: "\n".join(f"    {line}" for line in each) for key, each in lines.items()})
    (folder / "setup.cfg").write_text(config)


def run(folder: Path, seconds: float) -> None:
    """mutmut until it is done or the time is over; what is known by then is in its files."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1"]
    running = subprocess.Popen(command, cwd=folder, stdout=sys.stderr, start_new_session=True)
    try:
        running.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)  # with its workers
        running.wait()


def outcomes(folder: Path, method: str) -> dict[str, str]:
    """What became of each mutant of a method's file."""
    from mutmut.stats import status_by_exit_code

    file = folder / "mutants" / "kd2deploy" / "methods" / f"{method}.py.meta"
    found = json.loads(file.read_text())["exit_code_by_key"] if file.exists() else {}
    return {name: status_by_exit_code[code] for name, code in found.items()}


def diff(folder: Path, mutant: str) -> list[str]:
    """The lines that a mutant takes away and puts in."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    file = Path("kd2deploy", "methods", f"{mutant.split('.')[2]}.py")
    with contextlib.chdir(folder):  # where mutmut looks for its own files
        shown = get_diff_for_mutant(mutant, path=file)
    return [line for line in shown.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def counted(found: dict[str, str]) -> dict[str, int]:
    counts = Counter(found.values())
    return {"mutants": len(found), **{status: counts[status] for status in sorted(counts)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="+", help="files of kd2deploy/methods with a test file of their own")
    parser.add_argument("--minutes", type=float, default=15.0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutants-") as at:
        folder = Path(at)
        copied(folder, wanted.methods)
        run(folder, 60 * wanted.minutes)
        by_file = {method: outcomes(folder, method) for method in wanted.methods}
        everything = {name: status for found in by_file.values() for name, status in found.items()}
        survivors = [name for name, status in everything.items() if status == SURVIVED]
        whole: dict[str, Any] = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": describe_machine().to_json(),
            "mutmut": version("mutmut"),
            "minutes": wanted.minutes,
            "all": counted(everything),
            "files": {method: counted(found) for method, found in by_file.items()},
            "survivors": {name: diff(folder, name) for name in survivors},
        }
    print(json.dumps(whole, indent=1))


if __name__ == "__main__":
    main()
