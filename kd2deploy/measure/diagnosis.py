"""Why a student is not faster, and what to do about it: read off what the sessions say and what the timings show."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kd2deploy.core.figures import Unit, as_given, bare, count_of, figure, percent
from kd2deploy.measure.intervals import Interval
from kd2deploy.measure.machine import Machine
from kd2deploy.measure.statistics import noise
from kd2deploy.measure.timing import Timing

HOST_BOUND = 0.8
"""Enqueue time over GPU time above which the host, not the GPU, sets the pace."""
COPY_BOUND = 0.5
"""Share of a run spent on copies above which computing faster gains little. Ours."""
MEMORY_BOUND = 0.5
"""Share of the machine's bandwidth at which reading the weights alone sets the pace. Ours."""
FIXED_OVERHEAD = 0.7
"""Time of the smallest inputs over that of inputs three times as large, above which size hardly matters. Ours."""
SIZE_RATIO = 3
IDLE_THREADS = 0.6
"""Processor time over wall time and threads below which threads wait for each other. Ours."""


@dataclass(frozen=True)
class Diagnosis:
    """One finding: a word to sort by, a sentence with the numbers, and the remedy."""

    word: str
    sentence: str
    remedy: str


@dataclass(frozen=True)
class Case:
    """All that a diagnosis may look at."""

    student: Timing
    teacher: Timing
    ratio: Interval | None
    limit: float | None
    """The least speedup that is asked for; None where none is, and the student is to be as fast as the teacher."""
    machine: Machine | None = None
    precision: str = "fp32"
    size_mb: float | None = None
    bandwidth: Callable[[], float] | None = None
    """Measures the memory's GB/s; asked only where there is something to explain."""

    @property
    def wanted(self) -> float:
        return 1.0 if self.limit is None else self.limit


def diagnose(case: Case) -> tuple[Diagnosis, ...]:
    """Findings that explain a speedup whose pessimistic end is below the limit, gravest first; none when it clears."""
    if case.ratio is not None and case.ratio.low >= case.wanted:
        return ()
    if case.student.failure or case.teacher.failure:
        failed = case.student if case.student.failure else case.teacher
        return (
            Diagnosis("failed", f"{failed.name} was not timed: {failed.failure}", "mend what the session names first"),
        )
    found = tuple(one for check in CHECKS if (one := check(case)) is not None)
    return found or tuple(one for one in [too_large(case)] if one is not None)


def int8_without_support(case: Case) -> Diagnosis | None:
    if case.machine is None or case.precision != "int8" or _on_device(case) or case.machine.has_int8:
        return None
    return Diagnosis(
        "int8 without VNNI",
        f"{case.machine.cpu} has no instructions for int8 dot products ({', '.join(case.machine.isa) or 'none known'})",
        "measure int8 on a processor with VNNI or AMX, or deploy fp32 with fused attention here",
    )


def host_bound(case: Case) -> Diagnosis | None:
    times = case.student.device
    if times is None or times.enqueue_ms <= HOST_BOUND * times.gpu_ms:
        return None
    return Diagnosis(
        "host-bound",
        f"enqueueing takes {percent(times.enqueue_ms / times.gpu_ms)} of the GPU time "
        f"({of(times.enqueue_ms, times.gpu_ms, 'ms')})",
        "use a CUDA graph or a larger batch: a smaller network alone will not be faster",
    )


def copy_bound(case: Case) -> Diagnosis | None:
    times, whole = case.student.device, _median(case.student)
    if times is None or times.copy_ms <= COPY_BOUND * whole:
        return None
    return Diagnosis(
        "copy-bound",
        f"copies to and from the device take {of(times.copy_ms, whole, 'ms')}",
        "send smaller inputs and fetch smaller outputs, or keep both on the device",
    )


def too_small_for_device(case: Case) -> Diagnosis | None:
    times, whole = case.student.device, _median(case.student)
    if times is None or times.gpu_ms >= (1 - HOST_BOUND) * whole:
        return None
    return Diagnosis(
        "too small for the device",
        f"the GPU works {of(times.gpu_ms, whole, 'ms')}",
        "raise the batch, or deploy on a smaller device or a CPU",
    )


def memory_bound(case: Case) -> Diagnosis | None:
    if not case.size_mb or case.bandwidth is None:
        return None
    times = case.student.device
    reached = case.size_mb / (times.gpu_ms if times else _median(case.student))  # MB per ms = GB per s
    available = case.bandwidth()
    if reached < MEMORY_BOUND * available:
        return None
    return Diagnosis(
        "memory-bound",
        f"reading its {figure(case.size_mb, 'mb')} once per run takes {bare(reached, 'mb')} of "
        f"{bare(available, 'mb')} GB/s",
        "fewer bytes help, fewer operations do not: int8 or fp16 weights, or a larger batch",
    )


def fixed_overhead(case: Case) -> Diagnosis | None:
    share = _small_over_large(case.student)
    if share is None or share < FIXED_OVERHEAD:
        return None
    return Diagnosis(
        "fixed overhead dominates",
        f"the smallest inputs take {percent(share)} of the time of inputs {SIZE_RATIO} times as large",
        "a larger batch, or fewer and wider layers: what is left is the cost of each call and each operation",
    )


def threads_wait(case: Case) -> Diagnosis | None:
    wall, cpu = sum(block.wall_s for block in case.student.blocks), case.student.cpu_s
    if case.student.threads < 2 or _on_device(case) or cpu is None or not wall:
        return None
    busy = cpu / wall / case.student.threads
    if busy >= IDLE_THREADS:
        return None
    return Diagnosis(
        "threads wait",
        f"it keeps {count_of(case.student.threads, 'thread')} busy {percent(busy)} of the time",
        "fewer threads may be as fast: set `threads` in the target, and serve several requests side by side",
    )


def noisy(case: Case) -> Diagnosis | None:
    steadiness = [noise(timing.samples_ms, timing.inputs) for timing in (case.student, case.teacher)]
    inconclusive = case.ratio is not None and case.ratio.low < case.wanted <= case.ratio.high
    flags = [flag for each in steadiness for flag in each.flags]
    if not inconclusive or not flags:
        return None
    what = "whether it is faster at all is not sure" if case.limit is None else "the limit lies inside the interval"
    return Diagnosis("noisy machine", f"{what}, and {flags[0]}", "measure again on a quiet machine")


def too_large(case: Case) -> Diagnosis | None:
    if case.ratio is None or case.ratio.high >= case.wanted:
        return None
    return Diagnosis(
        "too large",
        f"nothing else explains it: the student runs at {figure(case.ratio.estimate, 'ratio')} "
        + ("the baseline's speed" if case.limit is None else f"where {as_given(case.limit, 'ratio')}x is asked"),
        "a smaller student (let `plan` choose one), or a faster way to deploy it",
    )


CHECKS: tuple[Callable[[Case], Diagnosis | None], ...] = (
    int8_without_support,
    host_bound,
    copy_bound,
    too_small_for_device,
    memory_bound,
    fixed_overhead,
    threads_wait,
    noisy,
)
"""Gravest first; where none speaks, `too_large` does."""


def _small_over_large(timing: Timing) -> float | None:
    """Median time of the smallest inputs over that of inputs `SIZE_RATIO` times as large; None without both."""
    sizes = np.array(timing.sizes)[timing.inputs]
    small, large = np.quantile(sizes, 0.1), np.quantile(sizes, 0.9)
    if large < SIZE_RATIO * small:
        return None
    samples = timing.samples_ms
    return float(np.median(samples[sizes <= small]) / np.median(samples[sizes >= large]))


def _on_device(case: Case) -> bool:
    return case.student.device is not None


def _median(timing: Timing) -> float:
    return float(np.median(timing.samples_ms))


def of(part: float, whole: float, unit: Unit) -> str:
    """`2.10 of 9.00 ms`."""
    return f"{bare(part, unit)} of {figure(whole, unit)}"
