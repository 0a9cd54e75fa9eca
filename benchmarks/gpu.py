"""Every runtime on this device in one command, into one JSON file: `python benchmarks/gpu.py --out gpu.json`.

Teachers beside their students at batches 1 to 128: latency of the computation alone and from host to host, the share of
the device's own measured matrix products and copy bandwidth, our engines in TensorRT's `trtexec` where it is on PATH;
and distillation steps per second, with and without the teacher's cache, against the same loop without a teacher.
Networks are untrained: nothing here says how accurate anything is.

It ends within `--minutes`: each part runs in a process of its own with the time that is left for it, what could not be
done is named in `left_out`, and the file is whole after each part. `--work FOLDER` keeps graphs and engines, so that a
second run has more time to measure. `--runtimes` chooses some. `--tiny` runs the same program on a processor in a
minute or two, to check it and not the machine. Not run on a device yet.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from _gpu_children import Attempt, Deadline, attempt
from _gpu_distillation import distillation
from _gpu_networks import sizes
from _gpu_parts import latency, prepare, trtexec
from _gpu_peaks import machine, machine_after
from _gpu_report import Report
from _gpu_runtimes import EXTRA, Device, Subject, by_group, runtimes
from _gpu_timing import Protocol
from _gpu_trtexec import PROGRAM

from kd2deploy.core import Variant

BATCHES, TINY_BATCHES = (1, 8, 32, 128), (1, 4)
LARGEST_SHARE = {"machine": 0.15, "distillation": 0.2, "prepare": 0.5}
"""Of all the time, what a part may take at most; the rest is for latencies."""
FIGURE_S = (0.05, 1.0)
"""Least and most that is timed for one figure."""
OPEN_S = 3.0
"""What opening one session takes, roughly."""
OVERRUN, LEAST_LIMIT_S = 3.0, 30.0
"""A unit is stopped after so many times its share of the time left, and not before so many seconds."""


class Unit(NamedTuple):
    """One runtime on a teacher with its students."""

    part: Callable[..., None]
    runtime: str
    group: str


class Benchmark:
    """All parts in their order."""

    def __init__(
        self, given: argparse.Namespace, device: Device, variants: Mapping[str, Variant], scratch: Path
    ) -> None:
        self.given, self.device, self.variants, self.scratch = given, device, variants, scratch
        self.batches = TINY_BATCHES if given.tiny else BATCHES
        self.usual = self.batches[len(self.batches) // 2]
        work = given.work or scratch / "work"
        self.groups = by_group([Subject(size, work, given.tiny, device) for size in sizes(given.tiny)])
        head = {"device": device, "tiny": given.tiny, "minutes": given.minutes, "builders": given.builders}
        self.report, self.deadline = Report(given.out, **head), Deadline(given.minutes)

    def run(self) -> None:
        self.note(self.child("machine", machine, device=self.device, protocol=self.protocol(0.5), tiny=self.given.tiny))
        where = {"folder": self.scratch / "distillation", "tiny": self.given.tiny, "device": self.device}
        self.note(self.child("distillation", distillation, rounds=1 if self.given.tiny else 2, **where))
        self.measure(self.prepare())
        if before := self.report.found.get("before"):
            self.note(self.child("after", machine_after, before=before))
        self.report.merge({"seconds": self.deadline.spent_s})

    def prepare(self) -> set[tuple[str, str]]:
        """Networks, graphs and engines, some groups at once; which network cannot be made ready in which runtime."""
        until_s = self.deadline.spent_s + LARGEST_SHARE["prepare"] * self.deadline.whole_s

        def prepared(group: str) -> Attempt:
            limit_s = until_s - self.deadline.spent_s
            made = {"subjects": self.groups[group], "variants": self.variants, "batches": self.batches}
            return self.child(f"prepare {group}", prepare, limit_s, **made)

        with ThreadPoolExecutor(self.given.builders) as several:
            attempts = list(several.map(prepared, self.groups))
        for one in attempts:
            self.note(one)
        entries = [entry for one in attempts for entry in one.found.get("left_out", ())]
        return {(entry["network"], entry["runtime"]) for entry in entries if "runtime" in entry}

    def measure(self, failed: set[tuple[str, str]]) -> None:
        """Latencies, each unit with an even share of the time that is left."""
        ready = [
            (unit, [one for one in self.groups[unit.group] if (one.size.name, unit.runtime) not in failed])
            for unit in self.units()
        ]
        units = [(unit, subjects) for unit, subjects in ready if subjects]
        for at, (unit, subjects) in enumerate(units):
            batches = self.batches if unit.part is latency else (self.batches[0], self.usual)
            share_s = self.deadline.left_s / (len(units) - at)
            figures = 2 * len(subjects) * len(batches)
            arguments = {
                "subjects": subjects,
                "runtime": unit.runtime,
                "variant": self.variants[unit.runtime],
                "batches": batches,
                "protocol": self.protocol((share_s - OPEN_S * len(subjects)) / figures),
            }
            name = f"{unit.part.__name__} {unit.runtime} {unit.group}"
            self.note(self.child(name, unit.part, max(LEAST_LIMIT_S, OVERRUN * share_s), **arguments))

    def units(self) -> list[Unit]:
        """What was asked for first: a whole group in all runtimes before the next group."""
        engines = [name for name in self.variants if name.startswith("tensorrt")]
        if engines and shutil.which(PROGRAM) is None:
            self.report.leave_out(f"{PROGRAM} is not on PATH", part=PROGRAM)
            engines = []
        found = []
        for group in self.groups:
            for name in self.variants:
                if name != EXTRA:
                    found.append(Unit(latency, name, group))
                if name in engines[:1]:
                    found.append(Unit(trtexec, name, group))
        found += [Unit(trtexec, name, group) for name in engines[1:] for group in self.groups]
        return found + [Unit(latency, EXTRA, group) for group in self.groups if EXTRA in self.variants]

    def protocol(self, affordable_s: float) -> Protocol:
        if self.given.tiny:
            return Protocol(seconds=0.02, warm_s=0.01, warm_runs=3, rounds=2)
        least, most = FIGURE_S
        return Protocol(seconds=min(most, max(least, affordable_s - Protocol.warm_s)))

    def child(self, name: str, part: Callable[..., None], limit_s: float | None = None, **arguments: Any) -> Attempt:
        if limit_s is None:
            limit_s = LARGEST_SHARE.get(name, 1.0) * self.deadline.whole_s
        return attempt(name, part, self.scratch, min(limit_s, self.deadline.left_s), self.given.start, arguments)

    def note(self, one: Attempt) -> None:
        self.report.merge({**one.found, "parts": [one.entry]})
        if one.reason:
            self.report.leave_out(one.reason, part=one.name)
        print(f"{self.deadline.spent_s:6.1f} s  {one.name}  {one.reason}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None, more: Mapping[str, Variant] | None = None) -> int:
    """`more` are further runtimes, by name."""
    device: Device = "cuda" if torch.cuda.is_available() else "cpu"
    known = {**runtimes(device, BATCHES), **(more or {})}
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--tiny", action="store_true", help="tiny networks, on the processor where there is no device")
    parser.add_argument("--minutes", type=float, default=8.5)
    parser.add_argument("--runtimes", nargs="*", default=list(known), choices=list(known))
    parser.add_argument("--work", type=Path, help="where graphs and engines are kept for the next run")
    parser.add_argument("--builders", type=int, default=max(1, min(4, (os.cpu_count() or 1) // 4)))
    parser.add_argument("--start", choices=("forkserver", "spawn"), default="forkserver", help="of each part's process")
    given = parser.parse_args(arguments)
    if not given.tiny and device == "cpu":
        parser.error("no CUDA device is here; --tiny checks the program on a processor")
    variants = {name: known[name] for name in known if name in given.runtimes}
    with tempfile.TemporaryDirectory(prefix="kd2deploy-gpu-") as scratch:
        benchmark = Benchmark(given, device, variants, Path(scratch))
        benchmark.run()
    found = benchmark.report.found
    print(f"{len(found['latency'])} latencies in {given.out}, {len(found['left_out'])} left out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
