"""What else uses the processor: how many cores, and which processes, as far as they can be seen from here."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

LOOK_S = 0.5
"""For how long this process waits to see what others do."""
NAMED, LEAST = 3, 0.1
"""How many processes are named, and from how many cores on. Ours."""


@dataclass(frozen=True)
class Used:
    """Processor seconds so far, over all cores."""

    by_all_s: float
    by_us_s: float
    """This process and all that it has started, itself or by others that it has started: ended or not."""
    stolen_s: float
    """What a hypervisor gave to other virtual machines while something here waited for it."""
    at_s: float
    """The clock's time of this reading."""

    def others_since(self, before: "Used") -> tuple[float, float]:
        """Cores on average that others used since then, and that were stolen: no more than there are.

        Counters go in steps, and the clock is read after them: on a busy machine a little later.
        """
        passed, there_are = max(1e-9, self.at_s - before.at_s), float(os.cpu_count() or 1)
        others = (self.by_all_s - before.by_all_s) - (self.by_us_s - before.by_us_s)
        stolen = self.stolen_s - before.stolen_s
        return min(there_are, max(0.0, others) / passed), min(there_are, max(0.0, stolen) / passed)


def in_use() -> Used:
    found = psutil.cpu_times()._asdict()
    idle = ("idle", "iowait", "steal", "guest", "guest_nice")  # guests count as their hosts' user time already
    return Used(
        by_all_s=sum(seconds for name, seconds in found.items() if name not in idle),
        by_us_s=_seconds_of_ours(),
        stolen_s=float(found.get("steal", 0.0)),
        at_s=time.monotonic(),
    )


def _seconds_of_ours() -> float:
    """Of this process, of what it has started and still runs, and of what each of these has waited for."""
    own, whole = psutil.Process(), 0.0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.Error):  # it has just ended
            times = process.cpu_times()
            whole += times.user + times.system + times.children_user + times.children_system
    return whole


def at_work(seconds: float = LOOK_S) -> tuple[float, str]:
    """Cores that others use while this process waits, and the busiest of their processes in words."""
    before, began = in_use(), _seconds_by_process()
    time.sleep(seconds)
    now, ended = in_use(), _seconds_by_process()
    passed = now.at_s - before.at_s
    cores = {who: (ended[who] - began[who]) / passed for who in ended.keys() & began.keys()}
    return now.others_since(before)[0], busiest(cores)


def busiest(cores: Mapping[tuple[int, str], float]) -> str:
    """In words, of cores by (process number, name): `python3 1.0 (pid 4242)`, the busiest first."""
    ranked = sorted(((used, *who) for who, used in cores.items() if used >= LEAST), reverse=True)[:NAMED]
    return ", ".join(f"{name} {used:.1f} (pid {pid})" for used, pid, name in ranked)


def _seconds_by_process() -> dict[tuple[int, str], float]:
    """Processor seconds so far of every process that can be seen but this one and its children."""
    ours = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    found = {}
    for process in psutil.process_iter(["name", "cpu_times"]):
        times = process.info["cpu_times"]
        if process.pid not in ours and times is not None:
            found[process.pid, process.info["name"] or "?"] = times.user + times.system
    return found
