"""The report's tables as text: one function each, rendered alike as HTML, Markdown and for the terminal.

A function gives None where the run has nothing to show for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kd2deploy.core.device_times import DeviceTimes
from kd2deploy.core.estimate import Estimate
from kd2deploy.core.figures import Unit, alike, percent
from kd2deploy.core.verdict import GateResult
from kd2deploy.report.formats import (
    MISSING,
    count,
    figure,
    interval,
    metric_unit,
    ms,
    outcome,
    parameters,
    point,
    seconds,
    short_hash,
    size,
)
from kd2deploy.report.measurement import Latency, Measurement, Role
from kd2deploy.report.origin import ArtifactRecord, Plain
from kd2deploy.report.report import Report

ROLES: dict[Role, str] = {
    "teacher": "teacher, eager",
    "teacher_same_runtime": "teacher, same runtime",
    "baseline": "baseline, eager",
    "baseline_same_runtime": "baseline, same runtime",
    "control": "control, no teacher",
    "student": "student",
    "variant": "other way to deploy",
    "link": "on the way to the deployed file",
}
VERDICTS = {"chosen": "★ chosen", "kept": "○ kept", "rejected": "✗ rejected"}


@dataclass(frozen=True)
class Cell:
    """Text, a second line in smaller print, and how it is dressed."""

    text: str
    under: str = ""
    tone: str = ""
    """The outcome or role whose colour it bears; the text alone says the same."""
    code: bool = False


@dataclass(frozen=True)
class Table:
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: frozenset[int] = frozenset()
    """Columns that are aligned to the right."""
    strong: frozenset[int] = frozenset()
    """Rows that stand out: what is deployed, what was chosen."""


@dataclass(frozen=True)
class Fact:
    """One figure of the headline."""

    label: str
    value: str
    under: str = ""
    tone: str = ""


def _figure(known: Estimate | None, unit: Unit, suffix: str = "", signed: bool = False) -> Cell:
    return Cell(
        point(known, unit, suffix=suffix, signed=signed), under=interval(known, unit, signed=signed) if known else ""
    )


def _used(table: Table) -> Table:
    """The table without the columns that hold nothing in any row."""
    keep = [
        place
        for place in range(len(table.head))
        if any(row[place].text not in ("", MISSING) or row[place].under for row in table.rows)
    ]
    return replace(
        table,
        head=tuple(table.head[place] for place in keep),
        rows=tuple(tuple(row[place] for place in keep) for row in table.rows),
        numbers=frozenset(new for new, old in enumerate(keep) if old in table.numbers),
    )


def facts(report: Report) -> list[Fact]:
    """The headline in four or five figures: the metric, the speed-up, the tail, the size, what distillation brought."""
    found: list[Fact] = []
    shipped, teacher = report.deployed, report.first("teacher") or report.first("teacher_same_runtime")
    unit, _, suffix = metric_unit(report.task)
    metric = report.task.metric if report.task else "metric"
    if shipped and shipped.metric:
        before = f"teacher {point(teacher.metric, unit, suffix=suffix)}" if teacher and teacher.metric else ""
        found.append(Fact(metric, point(shipped.metric, unit, suffix=suffix), before))
    for speedup in sorted(report.speedups, key=lambda one: not one.gates):
        if speedup.ratio.value is not None:
            against = "eager PyTorch teacher" if speedup.baseline == "eager" else "teacher in the same runtime"
            ends = interval(speedup.ratio, "ratio")
            found.append(
                Fact(
                    "faster than the " + against, point(speedup.ratio, "ratio"), f"95 % interval {ends}" if ends else ""
                )
            )
    if shipped and shipped.timing:
        timing = shipped.timing
        tail = f"P99 {point(timing.p99, 'ms')}"
        found.append(Fact("median latency", point(timing.median, "ms"), tail))
    if shipped and shipped.size_mb is not None:
        before = f"teacher {size(teacher.size_mb)}" if teacher and teacher.size_mb is not None else ""
        found.append(Fact("size on disk", size(shipped.size_mb), before))
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
        Cell(point(gate.estimate, gate.unit, suffix=suffix)),
        Cell(interval(gate.estimate, gate.unit) or MISSING),
        Cell(gate.sentence),
    )


def contenders(report: Report) -> Table | None:
    """Accuracy and speed of every artifact, belonging to the same bytes."""
    if not report.contenders:
        return None
    unit, _, suffix = metric_unit(report.task)
    metric = report.task.metric if report.task else "Metric"
    return _used(
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
                "Spread (CV)",
                "Size",
                "sha256",
            ),
            rows=tuple(_contender(one, unit, suffix) for one in report.contenders),
            numbers=frozenset({2, *range(4, 9)}),
            strong=frozenset(place for place, one in enumerate(report.contenders) if one.deployed),
        )
    )


def _contender(one: Measurement, unit: Unit, suffix: str) -> tuple[Cell, ...]:
    timing = one.timing
    worst = figure(one.classes.get(one.worst_class), "share") if one.worst_class else ""
    shipped = "★ deployed, " if one.deployed else ""
    of_seed = f", seed {one.seed}" if one.seed is not None else ""
    return (
        Cell(one.name, under=shipped + ROLES[one.role] + of_seed, tone=one.role),
        Cell(one.runtime or one.provider, under=", ".join(filter(None, (one.precision, one.provider)))),
        _figure(one.metric, unit, suffix),
        Cell(worst, under=one.worst_class),
        _figure(timing.median if timing else None, "ms"),
        _figure(timing.p90 if timing else None, "ms"),
        _figure(timing.p99 if timing else None, "ms"),
        _spread(timing),
        Cell(size(one.size_mb), under=f"{parameters(one.parameters)} parameters" if one.parameters else ""),
        Cell(short_hash(one.sha256), code=True),
    )


def _spread(timing: Latency | None) -> Cell:
    if timing is None or timing.cv is None:
        return Cell("")
    flags = [words for held, words in ((timing.cv_flagged, "⚑ noisy"), (not timing.settled, "⚑ not settled")) if held]
    return Cell(f"{timing.cv:.1%}".replace("%", " %"), under=", ".join(flags), tone="inconclusive" if flags else "")


def costs(report: Report) -> Table | None:
    """What stands beside the latency and is never mixed with it."""
    timed = [(one, one.timing) for one in report.contenders if one.timing]
    if not timed:
        return None
    return _used(
        Table(
            caption="What stands beside the latency and is never mixed into it",
            head=(
                "Contender",
                "Least",
                "Processor time",
                "On the device",
                "Throughput",
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
                    Cell(seconds(timing.cold_start_s) if timing.cold_start_s is not None else ""),
                    Cell(size(timing.peak_memory_mb) if timing.peak_memory_mb is not None else ""),
                    Cell(size(timing.peak_device_mb) if timing.peak_device_mb is not None else ""),
                    Cell(
                        f"{count(timing.samples)} requests",
                        under="; ".join(filter(None, (_processes(timing), timing.decision))),
                    ),
                    Cell(timing.includes),
                )
                for one, timing in timed
            ),
            numbers=frozenset(range(1, 9)),
        )
    )


def _device(times: DeviceTimes | None) -> Cell:
    """What it computes there, and what else a request takes."""
    if times is None:
        return Cell("")
    return Cell(ms(times.gpu_ms), under=f"issued in {ms(times.enqueue_ms)}, copies {ms(times.copy_ms)}")


def _processes(timing: Latency) -> str:
    return f"in {timing.processes} processes" if timing.processes else ""


def _throughput(timing: Latency) -> Cell:
    known = timing.throughput_per_s
    if known is None:
        return Cell("")
    batch = f"batch {timing.throughput_batch}" if timing.throughput_batch else ""
    return Cell(point(known, "number", suffix="/s"), under=" ".join(filter(None, (batch, interval(known, "number")))))


def metrics(report: Report) -> Table | None:
    """Every metric of every artifact; the headline one is in `contenders`."""
    return _by_name("All metrics", [(one, one.metrics) for one in report.contenders if one.metrics])


def classes(report: Report) -> Table | None:
    """Recall per class, by contender: a mean may hide a class that was lost."""
    return _by_name("Recall per class", [(one, one.classes) for one in report.contenders if one.classes])


def f1(report: Report) -> Table | None:
    """F1 per label, by contender: a label that is always answered has a recall of one, and is of no use."""
    return _by_name("F1 per label", [(one, one.f1) for one in report.contenders if one.f1])


def class_drops(report: Report) -> Table | None:
    """What each class loses from the teacher to the deployed file, the largest first."""
    if not report.class_drops:
        return None
    return Table(
        caption="What each class loses from the teacher to the deployed file, each with its own 95 % interval",
        head=("Class", "Rows", "Recall: teacher", "Recall: deployed", "Drop"),
        rows=tuple(
            (
                Cell(one.label),
                Cell(count(one.rows)),
                Cell(figure(one.before, "share")),
                Cell(figure(one.after, "share")),
                _figure(one.drop, "points"),
            )
            for one in report.class_drops
        ),
        numbers=frozenset({1, 2, 3, 4}),
    )


def lengths(report: Report) -> Table | None:
    """The speedup for short, middling and long requests apart."""
    rows = tuple(
        (
            Cell(ROLES["teacher" if one.baseline == "eager" else "teacher_same_runtime"]),
            Cell(f"{count(group.smallest)} to {count(group.largest)}"),
            Cell(count(group.requests)),
            Cell(ms(group.slow_ms)),
            Cell(ms(group.fast_ms)),
            _figure(group.ratio, "ratio"),
        )
        for one in report.speedups
        for group in one.by_length
    )
    if not rows:
        return None
    return Table(
        caption="How much faster by the length of the request: no limit is judged by it",
        head=("Baseline", "Elements of its inputs", "Requests", "Teacher", "Deployed", "Ratio"),
        rows=rows,
        numbers=frozenset({2, 3, 4, 5}),
    )


def _names(groups: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def _by_name(caption: str, shown: Sequence[tuple[Measurement, Mapping[str, float]]]) -> Table | None:
    if not shown:
        return None
    return Table(
        caption=caption,
        head=("", *(one.name for one, _ in shown)),
        rows=tuple(
            (Cell(name), *(Cell(_plain(values.get(name)), tone=one.role) for one, values in shown))
            for name in _names(values for _, values in shown)
        ),
        numbers=frozenset(range(1, len(shown) + 1)),
    )


def speedups(report: Report) -> Table | None:
    if not report.speedups:
        return None
    words = {"eager": "eager PyTorch (the setting before)", "same_runtime": "the same runtime and precision"}
    return Table(
        caption="How much faster, by median latency",
        head=("Baseline", "Divided by", "Ratio", "95 % interval", "Judged"),
        rows=tuple(
            (
                Cell(f"teacher in {words[one.baseline]}"),
                Cell(one.against),
                Cell(point(one.ratio, "ratio")),
                Cell(interval(one.ratio, "ratio") or MISSING),
                Cell("by min_speedup" if one.gates else "shown only"),
            )
            for one in report.speedups
        ),
        numbers=frozenset({2, 3}),
    )


def drop_chain(report: Report) -> Table | None:
    if not report.drop_chain:
        return None
    unit, delta, suffix = metric_unit(report.task)
    agreements = _names(link.agreement for link in report.drop_chain)
    metric = report.task.metric if report.task else "Metric"
    return _used(
        Table(
            caption="Where the drop enters, step by step",
            head=("Step", metric, "Against the step before", *(f"Agreement: {name}" for name in agreements), "sha256"),
            rows=tuple(
                (
                    Cell(link.step),
                    _figure(link.metric, unit, suffix),
                    _figure(link.delta, delta, suffix, signed=True) if link.delta else Cell(""),
                    *(Cell(_agreement(name, link.agreement.get(name))) for name in agreements),
                    Cell(short_hash(link.sha256), code=True),
                )
                for link in report.drop_chain
            ),
            numbers=frozenset(range(1, 3 + len(agreements))),
        )
    )


def _agreement(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return figure(value, "share") if name.startswith("top") else alike(value)


def seeds(report: Report) -> Table | None:
    known = report.distillation
    if known is None or not known.seeds:
        return None
    unit, delta, suffix = metric_unit(report.task)
    rows = [
        (
            Cell(f"seed {one.seed}"),
            Cell(figure(one.control, unit, suffix=suffix), tone="control"),
            Cell(figure(one.student, unit, suffix=suffix), tone="student"),
            Cell(
                figure(one.student - one.control, delta, suffix=suffix, signed=True)
                if one.student is not None and one.control is not None
                else MISSING
            ),
        )
        for one in known.seeds
    ]
    if known.student_spread is not None or known.control_spread is not None:
        rows.append(
            (
                Cell("spread over seeds (s.d.)"),
                Cell(figure(known.control_spread, delta, suffix=suffix)),
                Cell(figure(known.student_spread, delta, suffix=suffix)),
                Cell(""),
            )
        )
    return Table(
        caption="Student against the control: same network, same budget, no teacher",
        head=("Run", "Control", "Student", "Gain"),
        rows=tuple(rows),
        numbers=frozenset({1, 2, 3}),
    )


def candidates(report: Report) -> Table | None:
    if not report.candidates:
        return None
    return _used(
        Table(
            caption="Students that the plan timed untrained: latency depends on the shape, not on the weights",
            head=("Candidate", "Verdict", "Shape", "Parameters", "Latency", "Predicted speed-up", "Why"),
            rows=tuple(
                (
                    Cell(one.name),
                    Cell(VERDICTS[one.verdict], tone=one.verdict),
                    Cell(", ".join(f"{name} {_plain(value)}" for name, value in one.shape.items())),
                    Cell(parameters(one.parameters)),
                    _figure(one.latency, "ms"),
                    _figure(one.speedup, "ratio"),
                    Cell(one.reason),
                )
                for one in report.candidates
            ),
            numbers=frozenset({3, 4, 5}),
            strong=frozenset(place for place, one in enumerate(report.candidates) if one.verdict == "chosen"),
        )
    )


def layers(report: Report) -> Table | None:
    if report.layer_map is None or not report.layer_map.pairs:
        return None
    return Table(
        caption=f"Which teacher layer each student layer learned from ({report.layer_map.rule})",
        head=("Student layer", "Teacher layer"),
        rows=tuple((Cell(student), Cell(teacher)) for student, teacher in report.layer_map.pairs),
    )


def data(report: Report) -> Table | None:
    known = report.data
    if known is None:
        return None
    overlap = None if known.overlap is None else f"{count(known.overlap)} evaluation rows also in the training set"
    values: dict[str, Plain] = {
        "source": known.source,
        "training rows": None if known.train_rows is None else count(known.train_rows),
        "evaluation rows": None if known.eval_rows is None else count(known.eval_rows),
        "overlap": overlap,
        "labels": ", ".join(report.task.labels) if report.task else None,
        "sha256": known.sha256,
        **known.details,
    }
    return pairs("The data", {name: value for name, value in values.items() if value not in (None, "")})


def lineage(report: Report) -> Table | None:
    """Every artifact under the one it was made from."""
    if not report.lineage:
        return None
    known = {one.sha256 for one in report.lineage}
    roots = [one for one in report.lineage if one.parent not in known or one.parent == one.sha256]
    ordered = list(dict.fromkeys(pair for root in roots for pair in _descent(report, root, 0, frozenset())))
    return _used(
        Table(
            caption="Which artifact was made from which, and by what",
            head=("Artifact", "Made by", "Precision", "Size", "sha256", "Details"),
            rows=tuple(
                (
                    Cell(
                        ("\u2003" * (depth - 1) + "└ " if depth else "") + one.name,
                        under="★ deployed" if one.deployed else "",
                    ),
                    Cell(one.made_by, code=True),
                    Cell(one.precision),
                    Cell(size(one.size_mb)),
                    Cell(short_hash(one.sha256), code=True),
                    Cell(", ".join(f"{name}: {_plain(value)}" for name, value in one.details.items())),
                )
                for one, depth in ((report.lineage[place], depth) for place, depth in ordered)
            ),
            numbers=frozenset({3}),
            strong=frozenset(row for row, (place, _) in enumerate(ordered) if report.lineage[place].deployed),
        )
    )


def _descent(report: Report, root: ArtifactRecord, depth: int, seen: frozenset[str]) -> list[tuple[int, int]]:
    """(place in the lineage, depth) of an artifact and all that was made from it; a circle is cut."""
    found = [(report.lineage.index(root), depth)]
    for one in report.lineage:
        if one.parent == root.sha256 and one.sha256 not in seen | {root.sha256}:
            found += _descent(report, one, depth + 1, seen | {root.sha256})
    return found


def stages(report: Report) -> Table | None:
    if not report.stages:
        return None
    total = sum(stage.seconds for stage in report.stages)
    rows = [
        (
            Cell(stage.name),
            Cell(seconds(stage.seconds)),
            Cell(percent(stage.seconds / total) if total > 0 else MISSING),
            Cell("↻ reused" if stage.reused else ""),
        )
        for stage in report.stages
    ]
    rows.append((Cell("all"), Cell(seconds(total)), Cell(""), Cell("")))
    return _used(
        Table(
            caption="What each stage took",
            head=("Stage", "Time", "Share", "Earlier run"),
            rows=tuple(rows),
            numbers=frozenset({1, 2}),
            strong=frozenset({len(rows) - 1}),
        )
    )


def machine_state(report: Report) -> Table | None:
    """The machine before and after the timed window: a drift there is a drift in the figures."""
    names = _names((report.machine_before, report.machine_after))
    if not names:
        return None
    return Table(
        caption="The machine's state around the timed window",
        head=("", "Before", "After"),
        rows=tuple(
            (Cell(name), Cell(_plain(report.machine_before.get(name))), Cell(_plain(report.machine_after.get(name))))
            for name in names
        ),
        numbers=frozenset({1, 2}),
    )


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


def pairs(caption: str, values: Mapping[str, Plain]) -> Table | None:
    """A table of names and values."""
    if not values:
        return None
    return Table(
        caption=caption,
        head=("", "Value"),
        rows=tuple((Cell(name), Cell(_plain(value))) for name, value in values.items()),
    )


def _plain(value: Plain) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return str(value)
