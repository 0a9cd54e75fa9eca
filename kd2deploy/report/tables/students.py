"""Where the drop enters, and how the student came to be: the plan, the seeds, the layers."""

from kd2deploy.core.figures import alike
from kd2deploy.report.formats import (
    MISSING,
    figure,
    metric_unit,
    parameters,
    short_hash,
)
from kd2deploy.report.report import Report
from kd2deploy.report.tables.table import Cell, Table, names_of, plain, told, used

VERDICTS = {"chosen": "★ chosen", "kept": "○ kept", "rejected": "✗ rejected"}


def drop_chain(report: Report) -> Table | None:
    if not report.drop_chain:
        return None
    unit, delta, suffix = metric_unit(report.task)
    agreements = names_of(link.agreement for link in report.drop_chain)
    metric = report.task.metric if report.task else "Metric"
    return used(
        Table(
            caption="Where the drop enters, step by step: + is better, - is worse",
            head=("Step", metric, "Against the step before", *(f"Agreement: {name}" for name in agreements), "sha256"),
            rows=tuple(
                (
                    Cell(link.step),
                    told(link.metric, unit, suffix),
                    told(link.delta, delta, suffix, signed=True) if link.delta else Cell(""),
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
    better = -1 if report.task and not report.task.higher_is_better else 1
    rows = [
        (
            Cell(f"seed {one.seed}"),
            Cell(figure(one.control, unit, suffix=suffix), tone="control"),
            Cell(figure(one.student, unit, suffix=suffix), tone="student"),
            Cell(
                figure(better * (one.student - one.control), delta, suffix=suffix, signed=True)
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
    return used(
        Table(
            caption="Students that the plan timed untrained: latency depends on the shape, not on the weights",
            head=("Candidate", "Verdict", "Shape", "Parameters", "Latency", "Predicted speed-up", "Why"),
            rows=tuple(
                (
                    Cell(one.name),
                    Cell(VERDICTS[one.verdict], tone=one.verdict),
                    Cell(", ".join(f"{name} {plain(value)}" for name, value in one.shape.items())),
                    Cell(parameters(one.parameters)),
                    told(one.latency, "ms"),
                    told(one.speedup, "ratio"),
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
