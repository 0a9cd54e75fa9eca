"""The verdict's own tables: the headline's figures and the limits."""

from kd2deploy.core.figures import percent
from kd2deploy.core.verdict import GateResult
from kd2deploy.report.formats import (
    MISSING,
    figure,
    interval,
    interval_or_why,
    metric_unit,
    outcome,
    point,
    size,
    times,
)
from kd2deploy.report.report import Report
from kd2deploy.report.tables.table import Cell, Fact, Table


def facts(report: Report) -> list[Fact]:
    """The headline in four or five figures: the metric, the speed-up, the tail, the size, what distillation brought."""
    found: list[Fact] = []
    shipped, before, who = report.deployed, report.before, report.compared_with
    unit, _, suffix = metric_unit(report.task)
    metric = report.task.metric if report.task else "metric"
    if shipped and shipped.metric:
        under = f"{who} {point(before.metric, unit, suffix=suffix)}" if before and before.metric else ""
        found.append(Fact(metric, point(shipped.metric, unit, suffix=suffix), under))
    for speedup in sorted(report.speedups, key=lambda one: not one.gates):
        if speedup.ratio.value is not None:
            against = {
                "eager": f"faster than the eager PyTorch {who}",
                "same_runtime": f"faster than the {who} in the same runtime",
                "best_file": f"faster than the {who}'s own best file",
                "first": f"faster ({speedup.against})",
            }[speedup.baseline]
            ends = interval(speedup.ratio, "ratio")
            found.append(Fact(against, times(speedup.ratio), f"95 % interval {ends}" if ends else ""))
        if speedup.baseline == "eager" and speedup.end_to_end is not None and speedup.end_to_end.value is not None:
            ends = interval(speedup.end_to_end, "ratio")
            under = f"95 % interval {ends}" if ends else ""
            found.append(Fact("faster end to end", times(speedup.end_to_end), under))
    if shipped and shipped.timing:
        timing = shipped.timing
        tail = f"P99 {point(timing.p99, 'ms')}"
        found.append(Fact("median latency", point(timing.median, "ms"), tail))
        asked = report.verdict is not None and any(gate.name == "min_throughput" for gate in report.verdict.gates)
        if asked and timing.throughput_per_s is not None:
            per_core = point(timing.throughput_per_core, "rate") if timing.throughput_per_core else ""
            under = f"{per_core} per core" if per_core else ""
            found.append(Fact("throughput", point(timing.throughput_per_s, "rate"), under))
    if shipped and shipped.size_mb is not None:
        under = f"{who} {size(before.size_mb)}" if before and before.size_mb is not None else ""
        found.append(Fact("size on disk", size(shipped.size_mb), under))
    gap = report.distillation.gap_closed if report.distillation else None
    if gap and gap.value is not None:
        ends = interval(gap, "share", places=0)
        under = f"95 % interval {ends}" if ends else ""
        found.append(Fact("gap closed by distillation", percent(gap.value), under))
    return found


def gates(report: Report) -> Table | None:
    if report.verdict is None or not report.verdict.gates:
        return None
    return Table(
        caption="The limits, and how the measurement stands to them",
        head=("Gate", "Outcome", "Limit", "Measured", "95 % interval", "In words"),
        rows=tuple(_gate(report, gate) for gate in report.verdict.gates),
        numbers=frozenset({2, 3, 4}),
    )


def _gate(report: Report, gate: GateResult) -> tuple[Cell, ...]:
    suffix = report.task.metric_suffix if report.task and gate.unit == "number" else ""
    bound = "at most" if gate.bound == "at_most" else "at least"
    return (
        Cell(gate.name, code=True),
        Cell(outcome(gate.outcome), tone=gate.outcome.lower()),
        Cell(f"{bound} {figure(gate.limit, gate.unit, suffix=suffix)}"),
        Cell(times(gate.estimate) if gate.unit == "ratio" else point(gate.estimate, gate.unit, suffix=suffix)),
        Cell(interval_or_why(gate.estimate, gate.unit) or MISSING),
        Cell(gate.sentence),
    )
