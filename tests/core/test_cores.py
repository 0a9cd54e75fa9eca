"""Quotas as containers set them, read off made-up files, and one that is really set where this machine lets us."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from kd2deploy.core import cores, usable_cores
from kd2deploy.core.cores import Quota, allowed_cores, cpu_quota


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    cpu_quota.cache_clear()
    yield
    cpu_quota.cache_clear()


def system(folder: Path, mount: str, groups: str, files: dict[str, str]) -> Quota | None:
    """The quota found where these files lie below `folder`, and `mountinfo` and `cgroup` say this."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    (folder / "mountinfo").write_text(f"22 27 0:21 / /proc rw - proc proc rw\n{mount.format(folder)}\n")
    (folder / "cgroup").write_text(groups + "\n")
    return cpu_quota(folder / "mountinfo", folder / "cgroup")


V2 = "31 23 0:28 / {}/fs rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "32 31 0:29 / {}/fs rw - cgroup cgroup rw,cpu,cpuacct"


def test_a_container_of_version_two_sees_its_own_group_at_the_top(tmp_path: Path) -> None:
    found = system(tmp_path, V2, "0::/", {"fs/cpu.max": "200000 100000"})
    assert found == Quota(2.0, 0.1, tmp_path / "fs")


def test_a_slice_around_the_own_group_may_be_the_tighter_one(tmp_path: Path) -> None:
    files = {
        "fs/a.slice/b.scope/cpu.max": "max 100000",
        "fs/a.slice/cpu.max": "150000 50000",
        "fs/cpu.max": "800000 100000",
    }
    found = system(tmp_path, V2, "0::/a.slice/b.scope", files)
    assert found == Quota(3.0, 0.05, tmp_path / "fs" / "a.slice")


def test_version_one_is_read_with_its_own_words(tmp_path: Path) -> None:
    files = {"fs/box/cpu.cfs_quota_us": "250000", "fs/box/cpu.cfs_period_us": "100000", "fs/cpu.cfs_quota_us": "-1"}
    found = system(tmp_path, V1, "9:memory:/other\n4:cpu,cpuacct:/box\n0::/", files)
    assert found == Quota(2.5, 0.1, tmp_path / "fs" / "box")


def test_a_container_whose_mount_begins_at_its_own_group(tmp_path: Path) -> None:
    mount = "32 31 0:29 /docker/4f2a {}/fs ro - cgroup cgroup rw,cpu,cpuacct"
    files = {"fs/cpu.cfs_quota_us": "50000", "fs/cpu.cfs_period_us": "100000"}
    found = system(tmp_path, mount, "4:cpu,cpuacct:/docker/4f2a", files)
    assert found == Quota(0.5, 0.1, tmp_path / "fs")


def test_a_path_that_is_not_there_inside_falls_back_to_what_is_mounted(tmp_path: Path) -> None:
    files = {"fs/cpu.max": "400000 100000"}
    found = system(tmp_path, V2, "0::/../kubepods/pod7", files)
    assert found is not None
    assert found.cores == 4.0


@pytest.mark.parametrize(("mount", "files"), [(V2, {"fs/cpu.max": "max 100000"}), (V2, {}), ("", {})])
def test_no_limit_is_no_quota(tmp_path: Path, mount: str, files: dict[str, str]) -> None:
    assert system(tmp_path, mount or "33 1 0:4 / / rw - ext4 /dev/vda rw", "0::/", files) is None


def test_another_system_keeps_no_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "mountinfo", tmp_path / "cgroup") is None


@pytest.mark.parametrize(("quota", "of", "threads"), [(2.0, 32, 2), (1.5, 32, 2), (0.25, 32, 1), (64.0, 8, 8)])
def test_threads_are_the_quota_rounded_up_where_that_is_smaller(
    quota: float, of: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "cpu_quota", lambda: Quota(quota, 0.1, Path("nowhere")))
    monkeypatch.setattr(cores, "allowed_cores", lambda: of)
    assert usable_cores() == threads


def test_throttled_periods_are_counted_in_either_version(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 9\nnr_periods 50\nnr_throttled 7\nthrottled_usec 1500000\n")
    assert Quota(1.0, 0.1, tmp_path).throttled() == (7, 1.5)
    (tmp_path / "cpu.stat").write_text("nr_periods 50\nnr_throttled 8\nthrottled_time 2500000000\n")
    assert Quota(1.0, 0.1, tmp_path).throttled() == (8, 2.5)


@pytest.fixture
def a_twentieth_of_a_core() -> Iterator[Path]:
    """A control group of a twentieth of a core, in whichever version this machine lets us write.

    Busy as a test machine may be, a process that spins gets more than that.
    """
    name = f"kd2deploy-test-{uuid.uuid4().hex[:8]}"
    for top, rules in (
        (Path("/sys/fs/cgroup"), {"cpu.max": "5000 100000"}),
        (Path("/sys/fs/cgroup/cpu"), {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "5000"}),
    ):
        group = top / name
        try:
            group.mkdir()
            for file, text in rules.items():
                with (group / file).open("r+") as stream:  # a file that is not there is another version's
                    stream.write(text)
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("no control group can be made here: it takes root and a writable /sys/fs/cgroup")


def test_a_real_quota_is_found_and_its_throttling_counted(a_twentieth_of_a_core: Path) -> None:
    code = """
import os, sys, time
from kd2deploy.core import cpu_quota, usable_cores
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
quota = cpu_quota()
began = quota.throttled()
until = time.process_time() + 0.02
while time.process_time() < until: pass
print(quota.cores, quota.period_s, usable_cores(), quota.throttled()[0] > began[0], quota.throttled()[1] > began[1])
"""
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code, str(a_twentieth_of_a_core)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0.05", "0.1", "1", "True", "True"]
    assert allowed_cores() >= 1
