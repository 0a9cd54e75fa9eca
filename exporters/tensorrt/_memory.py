"""By how much a piece of work raises this process's resident memory."""

from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"
"""What Linux takes for: the largest resident memory so far is what there is now (proc(5))."""


class PeakMemory:
    """Counts from where it is made, to some tens of MB: Linux adds up what each processor counts in steps of its own.

    Where the kernel does not let a process forget its peak, the count begins at the largest memory there ever was, so
    work that stays below it counts as nothing; and so does all work on a system without /proc.
    """

    def __init__(self, status: Path = STATUS, clear: Path = CLEAR) -> None:
        self._status = status
        try:
            clear.write_text(FORGET_PEAK)
        except OSError:
            self._before_mb = self._mb("VmHWM")
        else:
            self._before_mb = self._mb("VmRSS")

    def raised_mb(self) -> float:
        """The largest resident memory since then less that of then, in MB."""
        return max(0.0, self._mb("VmHWM") - self._before_mb)

    def _mb(self, name: str) -> float:
        lines = self._status.read_text().splitlines() if self._status.is_file() else []
        return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{name}:")), 0.0)
