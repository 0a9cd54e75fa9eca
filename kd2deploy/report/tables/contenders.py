"""Accuracy and speed of every artifact, and what stands beside its latency."""

from kd2deploy.core.device_times import DeviceTimes
from kd2deploy.core.figures import Unit, count_of
from kd2deploy.report.formats import (
    figure,
    interval_or_why,
    metric_unit,
    ms,
    parameters,
    point,
    seconds,
    short_hash,
    size,
)
from kd2deploy.report.measurement import Latency, Measurement, Role
from kd2deploy.report.origin import UNSTEADY
from kd2deploy.report.report import Report
from kd2deploy.report.tables.table import Cell, Table, told, used

ROLES: dict[Role, str] = {
    "teacher": "teacher, eager",
    "teacher_same_runtime": "teacher, same runtime",
    "teacher_best_file": "teacher, best file",
    "baseline": "baseline, eager",
    "baseline_same_runtime": "baseline, same runtime",
    "baseline_best_file": "baseline, best file",
    "control": "control, no teacher",
    "student": "student",
    "variant": "other way to deploy",
    "link": "on the way to the deployed file",
    "network": "a network, eager",
    "bundle": "a bundle's deployed file",
    "exported": "an exported file",
}


def contenders(report: Report) -> Table | None:
    """Accuracy and speed of every artifact, belonging to the same bytes."""
    if not report.contenders:
        return None
    unit, _, suffix = metric_unit(report.task)
    metric = report.task.metric if report.task else "Metric"
    said = any(finding.word == UNSTEADY for finding in report.findings)
    return used(
        Table(
            caption="Every artifact that was scored and timed, with 95 % intervals",
            head=(
                "Contender",
                "Runtime",
                metric,
                "Lowest recall",
                "Median",
                "P90",
                "P99",
                "End to end",
                "Spread (CV)",
                "Size",
                "sha256",
            ),
            rows=tuple(_contender(one, unit, suffix, said) for one in report.contenders),
            numbers=frozenset(range(2, 10)),
            strong=frozenset(place for place, one in enumerate(report.contenders) if one.deployed),
        )
    )


def _contender(one: Measurement, unit: Unit, suffix: str, said: bool) -> tuple[Cell, ...]:
    timing = one.timing
    worst = figure(one.classes.get(one.worst_class), "share") if one.worst_class else ""
    shipped = "★ deployed, " if one.deployed else ""
    of_seed = f", seed {one.seed}" if one.seed is not None else ""
    return (
        Cell(one.name, under=shipped + ROLES[one.role] + of_seed, tone=one.role),
        Cell(one.runtime or one.provider, under=", ".join(filter(None, (one.precision, one.provider)))),
        told(one.metric, unit, suffix),
        Cell(worst, under=one.worst_class),
        told(timing.median if timing else None, "ms"),
        told(timing.p90 if timing else None, "ms"),
        told(timing.p99 if timing else None, "ms"),
        told(timing.end_to_end.median, "ms") if timing and timing.end_to_end else Cell(""),
        _spread(timing, said),
        Cell(size(one.size_mb), under=f"{parameters(one.parameters)} parameters" if one.parameters else ""),
        Cell(short_hash(one.sha256), code=True),
    )


def _spread(timing: Latency | None, said: bool) -> Cell:
    """How much requests spread; marked where that is much, unless a finding has `said` so of all of them."""
    if timing is None or timing.cv is None:
        return Cell("")
    marks = ((timing.cv_flagged, "⚑ noisy"), (not timing.settled, "⚑ not settled"))
    flags = [] if said else [words for held, words in marks if held]
    return Cell(f"{timing.cv:.1%}".replace("%", " %"), under=", ".join(flags), tone="inconclusive" if flags else "")


def costs(report: Report) -> Table | None:
    """What stands beside the latency and is never mixed with it."""
    timed = [(one, one.timing) for one in report.contenders if one.timing]
    if not timed:
        return None
    return used(
        Table(
            caption="What stands beside the latency and is never mixed into it",
            head=(
                "Contender",
                "Least",
                "Processor time",
                "On the device",
                "Throughput",
                "Per core",
                "Cold start",
                "Peak memory",
                "Device memory",
                "Timed",
                "Includes",
            ),
            rows=tuple(
                (
                    Cell(one.name, tone=one.role),
                    Cell(ms(timing.least_ms)),
                    Cell(ms(timing.cpu_ms)),
                    _device(timing.device),
                    _throughput(timing),
                    Cell(point(timing.throughput_per_core, "rate") if timing.throughput_per_core else ""),
                    Cell(seconds(timing.cold_start_s) if timing.cold_start_s is not None else ""),
                    Cell(size(timing.peak_memory_mb) if timing.peak_memory_mb is not None else ""),
                    Cell(size(timing.peak_device_mb) if timing.peak_device_mb is not None else ""),
                    Cell(
                        f"{count_of(timing.samples, 'request')}",
                        under="; ".join(filter(None, (_processes(timing), timing.decision))),
                    ),
                    Cell(timing.includes),
                )
                for one, timing in timed
            ),
            numbers=frozenset(range(1, 9)),  # what is said of the timed ones is long, and wraps where it is no number
        )
    )


def phases(report: Report) -> Table | None:
    """When an answer that comes in parts begins, and how fast it goes on."""
    shown = [(one, phase) for one in report.contenders if one.timing for phase in one.timing.phases]
    if not shown:
        return None
    return Table(
        caption="Answers that come in parts, with 95 % intervals",
        head=("Contender", "Time to", "Median", "P90", "P99", "Timed"),
        rows=tuple(
            (
                Cell(one.name, tone=one.role),
                Cell(phase.name),
                told(phase.median, "ms"),
                told(phase.p90, "ms"),
                told(phase.p99, "ms"),
                Cell(f"{phase.samples:,}"),
            )
            for one, phase in shown
        ),
        numbers=frozenset(range(2, 6)),
    )


def _device(times: DeviceTimes | None) -> Cell:
    """What it computes there, and what else a request takes."""
    if times is None:
        return Cell("")
    return Cell(ms(times.gpu_ms), under=f"issued in {ms(times.enqueue_ms)}, copies {ms(times.copy_ms)}")


def _processes(timing: Latency) -> str:
    return f"in {count_of(timing.processes, 'process', 'processes')}" if timing.processes else ""


def _throughput(timing: Latency) -> Cell:
    known = timing.throughput_per_s
    if known is None:
        return Cell("")
    batch = f"batch {timing.throughput_batch}" if timing.throughput_batch else ""
    flight = f"{timing.throughput_in_flight} in flight" if timing.throughput_in_flight > 1 else ""
    said = ", ".join(filter(None, (batch, flight)))
    return Cell(point(known, "rate"), under=" ".join(filter(None, (said, interval_or_why(known, "rate")))))


def sessions(report: Report) -> Table | None:
    """What each session says is really active."""
    shown = [one for one in report.contenders if one.session]
    if not shown:
        return None
    return Table(
        caption="What each session says is really active",
        head=("Contender", "Active"),
        rows=tuple(
            (Cell(one.name, tone=one.role), Cell("; ".join(f"{name}: {value}" for name, value in one.session.items())))
            for one in shown
        ),
    )
