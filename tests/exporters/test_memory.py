"""The memory that a piece of work takes, not what the process had before."""

from pathlib import Path

import numpy as np
import pytest

from kd2deploy.exporters.tensorrt._memory import STATUS, PeakMemory


@pytest.mark.skipif(not STATUS.is_file(), reason="the system has no /proc")
def test_memory_that_was_given_back_before_does_not_count() -> None:
    before = np.ones(50_000_000)
    del before
    memory = PeakMemory()
    during = np.ones(25_000_000)
    del during
    assert 140 < memory.raised_mb() < 260  # 200, as exactly as Linux counts: see PeakMemory


def test_without_leave_to_forget_the_peak_only_what_exceeds_it_counts(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("VmHWM:\t  100000 kB\nVmRSS:\t   50000 kB\n")
    memory = PeakMemory(status, tmp_path / "no folder" / "clear_refs")
    status.write_text("VmHWM:\t  150000 kB\nVmRSS:\t   50000 kB\n")
    assert memory.raised_mb() == pytest.approx(51.2)
    forgetting = PeakMemory(status, tmp_path / "clear_refs")
    assert forgetting.raised_mb() == pytest.approx(102.4)
    assert PeakMemory(tmp_path / "none", tmp_path / "clear_refs").raised_mb() == 0
