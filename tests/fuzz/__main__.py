"""`python -m fuzz --count 10000`: mutated files through every reader, in a process that watches what is executed.

Prints one JSON object: how many of each kind were read and refused, the longest time, and every fault found: an error
that is not the program's own, a hang, or anything executed. Exit code 1 where there is a fault.
"""

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from fuzz.mutations import mutated
from fuzz.readers import Subject, subjects
from kd2deploy.errors import Kd2DeployError

EXECUTES = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")
REACHES_OUT = ("socket.connect", "urllib.Request", "ftplib.connect", "webbrowser.open", "os.startfile", "shutil.rmtree")
LONGEST_S = 30
"""After which a file is taken to hang; on a machine that does much else beside."""
MEMORY_BYTES = 6 << 30
"""More address space than reading a file may take: beyond it allocations fail."""
SHOWN = 20


class Hang(BaseException):
    """Not an Exception, so that no reader can swallow it."""


class Watch:
    """What the interpreter says that it executes, fetches or imports of the attacker's, while files are read."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in EXECUTES or event in REACHES_OUT:
            self.seen.append(f"{event} {str(arguments)[:200]}")
        elif event == "import" and str(arguments[0]).startswith("attack_module"):
            self.seen.append(f"import {arguments[0]}")


def run(count: int, seed: int, only: str | None = None) -> dict[str, Any]:
    """Feed `count` mutated files, in turn to each kind."""
    watch = Watch()
    sys.addaudithook(watch)
    signal.signal(signal.SIGALRM, hang)
    warnings.simplefilter("ignore")
    drawn = random.Random(seed)
    read, refused, found = Counter[str](), Counter[str](), Counter[str]()
    slowest, faults = dict[str, float](), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        kinds = {name: one for name, one in subjects(Path(folder)).items() if only in (None, name)}
        for name, one in kinds.items():
            slowest[name] = 0.0
            if one.sound:
                one.read(one.start)
        limit_memory()
        begun = time.monotonic()
        for at in range(count):
            name = list(kinds)[at % len(kinds)]
            data = mutated(kinds[name].start, kinds[name].changed, drawn)
            started, watch.on = time.monotonic(), True
            try:
                fault = outcome(kinds[name], data, read, refused, name)
            finally:
                watch.on = False
            slowest[name] = max(slowest[name], time.monotonic() - started)
            if watch.seen:
                fault = f"executed: {watch.seen}"
                watch.seen = []
            if fault:
                found[f"{name}: {fault}"] += 1
                if found[f"{name}: {fault}"] == 1:
                    faults.append(f"{name} (file {at} of seed {seed}): {fault}; the file begins {data[:300]!r}")
            if len(faults) >= SHOWN:
                break
        seconds = time.monotonic() - begun
    return {
        "seed": seed,
        "files": read.total() + refused.total() + found.total(),
        "seconds": round(seconds, 1),
        "kinds": {
            name: {"read": read[name], "refused": refused[name], "slowest_s": round(slowest[name], 2)} for name in kinds
        },
        "faults": faults,
    }


def outcome(one: Subject, data: bytes, read: Counter[str], refused: Counter[str], name: str) -> str:
    """The fault, if reading ended in another way than with a value or an error of the program's own."""
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        one.read(data)
        read[name] += 1
    except Kd2DeployError as error:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if not str(error).strip() or len(str(error)) > 20_000:
            return f"says nothing that helps: {str(error)[:100]!r}"
        refused[name] += 1
    except Hang:
        return f"hangs for more than {LONGEST_S} s"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if "kd2deploy" in frame.filename]
        mine = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
        return f"{type(error).__name__}: {str(error)[:200]} at {where.filename}:{where.lineno}, by {mine}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return ""


def hang(number: int, frame: FrameType | None) -> None:
    raise Hang


def limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, most))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one kind of file")
    parser.add_argument("--out", type=Path, help="also write the result to this file")
    given = parser.parse_args()
    found = run(given.count, given.seed, given.only)
    text = json.dumps(found, indent=1, ensure_ascii=True)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n")
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
