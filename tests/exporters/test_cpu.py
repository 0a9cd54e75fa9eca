"""What is read off the processor."""

from pathlib import Path

from kd2deploy.core import Target
from kd2deploy.exporters._cpu import cpu_flags, intra_op_threads


def test_flags_are_read_as_linux_writes_them(tmp_path: Path) -> None:
    for key in ("flags", "Features"):
        (tmp_path / key).write_text(f"processor\t: 0\n{key}\t\t: fpu avx2 avx_vnni\n\nprocessor\t: 1\n")
        assert cpu_flags(tmp_path / key) == {"fpu", "avx2", "avx_vnni"}
    assert cpu_flags(tmp_path / "absent") == frozenset()


def test_threads_are_the_targets_or_all_cores() -> None:
    import os

    assert intra_op_threads(Target("t", "", "cpu", {}, threads=3)) == 3
    assert intra_op_threads(Target("t", "", "cpu", {})) == len(os.sched_getaffinity(0))
