"""A comparison's tables and figures, once for the page, for Markdown and for the terminal."""

from statistics import fmean as mean

from kd2deploy.core.estimate import Estimate
from kd2deploy.core.figures import Unit, count_of, percent
from kd2deploy.report.comparison import Comparison, Difference, Standing
from kd2deploy.report.comparison_text import NO_TEACHER, against_baseline, against_control, label
from kd2deploy.report.formats import (
    MISSING,
    figure,
    interval,
    interval_or_why,
    metric_unit,
    ms,
    parameters,
    point,
    seconds,
    with_interval,
)
from kd2deploy.report.tables.table import Cell, Fact, Table, pairs, told


def tone(found: Difference | None) -> str:
    return {"better": "pass", "worse": "fail"}.get(found.word, "") if found else ""


def standings(found: Comparison) -> Table:
    """The table: one row per method, the best first."""
    unit, delta, suffix = metric_unit(found.task)
    baseline = found.by_role("baseline").method
    return Table(
        caption=f"Every method over {count_of(len(found.seeds), 'seed')} at {found.budget_about}; the teacher's "
        f"{found.task.metric} is {figure(found.teacher, unit, suffix=suffix)}",
        head=(
            "Method",
            found.task.metric,
            "s.d. over seeds",
            f"Against {baseline}",
            "Against no teacher",
            "Gap closed",
            "Cost per step",
            "Set-up",
            "Trained",
        ),
        rows=tuple(
            (
                Cell(label(one), tone="control" if one.role == "control" else ""),
                told(one.mean, unit, suffix),
                Cell(figure(one.spread, delta, suffix=suffix)),
                _against(one.against_baseline, against_baseline(one), delta, suffix),
                _against(one.against_control, against_control(one), delta, suffix),
                _gap(one.gap_closed),
                Cell(point(one.cost, "ratio"), under=ms(one.step_ms) if one.step_ms is not None else ""),
                Cell(seconds(mean(run.setup_s for run in one.runs))),
                Cell(
                    seconds(mean(run.seconds for run in one.runs)),
                    under=f"{count_of(round(mean(run.steps for run in one.runs)), 'step')}",
                ),
            )
            for one in found.standings
        ),
        numbers=frozenset(range(1, 9)),
        strong=frozenset(place for place, one in enumerate(found.standings) if one.role != "method"),
    )


def _against(found: Difference | None, word: str, delta: Unit, suffix: str) -> Cell:
    if found is None:
        return Cell("")
    known = found.over_seeds
    under = " ".join(filter(None, (interval_or_why(known, delta, signed=True), word)))
    return Cell(point(known, delta, suffix=suffix, signed=True), under=under, tone=tone(found))


def _gap(known: Estimate | None) -> Cell:
    if known is None:
        return Cell("")
    if known.value is None:
        return Cell(MISSING, under=known.note)
    return Cell(percent(known.value), under=interval(known, "share", places=0))


def by_seed(found: Comparison) -> Table:
    unit, _, suffix = metric_unit(found.task)
    return Table(
        caption=f"{found.task.metric} of every single training",
        head=("Method", *(f"seed {seed}" for seed in found.seeds)),
        rows=tuple(
            (Cell(label(one)), *(Cell(figure(run.score, unit, suffix=suffix)) for run in one.runs))
            for one in found.standings
        ),
        numbers=frozenset(range(1, len(found.seeds) + 1)),
    )


def over_examples(found: Comparison) -> Table:
    """The differences again, with the interval that is about the evaluation set."""
    _, delta, suffix = metric_unit(found.task)
    baseline = found.by_role("baseline").method

    def cell(known: Difference | None) -> Cell:
        if known is None:
            return Cell("")
        return Cell(with_interval(known.over_examples, delta, suffix=suffix, signed=True))

    return Table(
        caption="The same differences with intervals over evaluation examples: these trainings, other examples",
        head=("Method", f"Against {baseline}", "Against no teacher"),
        rows=tuple(
            (Cell(label(one)), cell(one.against_baseline), cell(one.against_control)) for one in found.standings
        ),
        numbers=frozenset({1, 2}),
    )


def trainings(found: Comparison) -> Table:
    """What was really run for every method, and what it has to spend before the first step."""
    return Table(
        caption="What was trained",
        head=("Method", "Trainings", "Generator", "Set-up", "Teacher's answers", "Load, highest"),
        rows=tuple(
            (
                Cell(label(one)),
                Cell("; then ".join(one.trainings)),
                Cell(one.generator or "none"),
                Cell(_setup(one)),
                Cell("none" if one.role == "control" else "from a cache" if one.cached else "run at every step"),
                Cell(f"{max(run.load for run in one.runs):.1f}"),
            )
            for one in found.standings
        ),
        numbers=frozenset({5}),
    )


def _setup(one: Standing) -> str:
    """Each part's mean over the seeds."""
    parts = [f"{what} {seconds(mean(run.setup[what] for run in one.runs))}" for what in one.runs[0].setup]
    return ", ".join(parts) or "none"


def folded(found: Comparison) -> tuple[Table, ...]:
    """Tables that most readers skip."""
    kept = (
        by_seed(found),
        over_examples(found),
        trainings(found),
        pairs("The machine", found.machine),
        pairs("Versions", found.versions),
    )
    return tuple(table for table in kept if table is not None)


def facts(found: Comparison) -> list[Fact]:
    unit, _, suffix = metric_unit(found.task)
    control, baseline = found.by_role("control"), found.by_role("baseline")
    return [
        Fact(
            f"{found.task.metric} of the teacher", figure(found.teacher, unit, suffix=suffix), _size(found, "teacher")
        ),
        Fact(
            f"of the student, {NO_TEACHER}",
            point(control.mean, unit, suffix=suffix),
            " ".join(filter(None, (_size(found, "student"), interval_or_why(control.mean, unit)))),
        ),
        Fact(
            f"of the student, {baseline.method}",
            point(baseline.mean, unit, suffix=suffix),
            interval_or_why(baseline.mean, unit),
        ),
    ]


def _size(found: Comparison, who: str) -> str:
    return f"{parameters(found.sizes[who])} parameters" if who in found.sizes else ""
