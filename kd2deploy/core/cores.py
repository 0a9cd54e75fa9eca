"""How many cores this process may use: the system's affinity mask, and the quota of its control groups (cgroups).

Source: the kernel's own documents, "Control Group v2" (`cpu.max`, `cpu.stat`) and "CFS Bandwidth Control" (v1:
`cpu.cfs_quota_us`, `cpu.cfs_period_us`, `cpu.stat`).
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

MOUNTS, GROUPS = Path("/proc/self/mountinfo"), Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Quota:
    """The tightest limit among a process's control groups, those around it included."""

    cores: float
    """Core-seconds per second: 2.0 for `docker run --cpus=2`."""
    period_s: float
    """Once the quota of a period is spent, everything in the group stands still until the next one begins."""
    folder: Path
    """The group that sets it."""

    def throttled(self) -> tuple[int, float]:
        """How many periods were cut short so far, and for how many seconds in all."""
        found = dict(line.split() for line in _text(self.folder / "cpu.stat").splitlines() if line.count(" ") == 1)
        stopped_s = int(found.get("throttled_usec", 0)) / 1e6 + int(found.get("throttled_time", 0)) / 1e9  # v2, v1
        return int(found.get("nr_throttled", 0)), stopped_s


def usable_cores() -> int:
    """Threads that can really run at once: cores of the affinity mask, and no more than the quota pays for."""
    cores, quota = allowed_cores(), cpu_quota()
    return cores if quota is None else min(cores, max(1, math.ceil(quota.cores)))


def allowed_cores() -> int:
    """Cores of the affinity mask, whatever the quota."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def cpu_quota(mounts: Path = MOUNTS, groups: Path = GROUPS) -> Quota | None:
    """The processor quota that this process runs under; None where there is none, or where the system keeps none."""
    found = [quota for folder in _folders(mounts, groups) if (quota := _quota_of(folder)) is not None]
    return min(found, key=lambda quota: quota.cores, default=None)


def _folders(mounts: Path, groups: Path) -> Iterator[Path]:
    """The process's own groups that count processor time, each followed by those around it, up to where they are
    mounted."""
    own = {}
    for line in _text(groups).splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))  # v2 is the one without a name
    for line in _text(mounts).splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        root, place = (_plain(each) for each in before.split(" ")[3:5])
        name = {"cgroup2": "", "cgroup": "cpu"}.get(kind)
        if name is None or name not in own or (kind == "cgroup" and "cpu" not in options.split(",")):
            continue
        # In a container the mount may begin at the container's own group, whose path the host counts from its top.
        group = PurePosixPath(own[name])
        folder = Path(place, group.relative_to(root if group.is_relative_to(root) else "/"))
        while folder != Path(place):
            yield folder
            folder = folder.parent
        yield folder


def _quota_of(folder: Path) -> Quota | None:
    if said := _text(folder / "cpu.max").split():
        quota, period = said
    else:
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    if not period or quota in ("", "max", "-1"):
        return None
    return Quota(int(quota) / int(period), int(period) / 1e6, folder)


def _plain(path: str) -> str:
    """A path as `mountinfo` writes it, with its octal escapes for spaces resolved."""
    return path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # another system, or a container that hides it
        return ""
