"""What a comparison says in words and tables, once for the page, for Markdown and for the terminal."""

from collections.abc import Sequence
from statistics import fmean as mean

from kd2deploy.core.estimate import Estimate
from kd2deploy.core.figures import Unit, count_of, percent
from kd2deploy.report.comparison import Comparison, Difference, Standing
from kd2deploy.report.formats import (
    MISSING,
    count,
    figure,
    interval,
    metric_unit,
    moment,
    ms,
    parameters,
    point,
    seconds,
    with_interval,
)
from kd2deploy.report.tables import Cell, Fact, Table, pairs

NO_TEACHER = "no teacher"
LEAST_SEEDS = 2
EXPECTED_BY_CHANCE = 0.05
"""Share of methods without any true difference that a 95 % interval tells apart all the same."""


def label(one: Standing) -> str:
    return f"{one.method} ({NO_TEACHER})" if one.role == "control" else one.method


def against_baseline(one: Standing) -> str:
    """`better`, `not distinguishable` or `worse`."""
    return in_words(one.against_baseline)


def against_control(one: Standing) -> str:
    """`better`, `not distinguishable` or, in capitals, that the teacher did harm."""
    word = in_words(one.against_control)
    return "WORSE than no teacher" if word == "worse" else word


def in_words(found: Difference | None) -> str:
    if found is None:
        return ""
    return "not distinguishable" if found.word == "not told apart" else found.word


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
                Cell(point(one.mean, unit, suffix=suffix), under=interval(one.mean, unit)),
                Cell(figure(one.spread, delta, suffix=suffix)),
                _against(one.against_baseline, against_baseline(one), delta, suffix),
                _against(one.against_control, against_control(one), delta, suffix),
                _gap(one.gap_closed),
                Cell(point(one.cost, "ratio"), under=ms(one.step_ms)),
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
    under = " ".join(filter(None, (interval(known, delta, signed=True), word)))
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
            " ".join(filter(None, (_size(found, "student"), interval(control.mean, unit)))),
        ),
        Fact(
            f"of the student, {baseline.method}",
            point(baseline.mean, unit, suffix=suffix),
            interval(baseline.mean, unit),
        ),
    ]


def _size(found: Comparison, who: str) -> str:
    return f"{parameters(found.sizes[who])} parameters" if who in found.sizes else ""


def conclusions(found: Comparison) -> list[str]:
    """What the table says."""
    baseline = found.by_role("baseline")
    others = [one for one in found.methods if one.role == "method"]
    said = []
    if len(found.seeds) < LEAST_SEEDS:
        return [f"One seed was trained, so nothing is told apart: give {LEAST_SEEDS} or more, better 5."]
    for name, group, differences in (
        (baseline.method, others, [one.against_baseline for one in others]),
        (NO_TEACHER, list(found.methods), [one.against_control for one in found.methods]),
    ):
        words = [difference.word for difference in differences if difference]
        better = _named([one.method for one, found_ in zip(group, differences, strict=True) if _is(found_, "better")])
        worse = _named([one.method for one, found_ in zip(group, differences, strict=True) if _is(found_, "worse")])
        verb = "WORSE" if name == NO_TEACHER and worse else "worse"
        said.append(
            f"Against {name}, of {count_of(len(words), 'method')}: {words.count('better')} better{better}, "
            f"{words.count('worse')} {verb}{worse}, {words.count('not told apart')} not distinguishable."
        )
    return said


def _is(found: Difference | None, word: str) -> bool:
    return found is not None and found.word == word


def _named(methods: Sequence[str]) -> str:
    return f" ({', '.join(methods)})" if methods else ""


def caveats(found: Comparison) -> list[str]:
    """What the table does not show."""
    seeds = len(found.seeds)
    data = found.data.source
    chance = EXPECTED_BY_CHANCE * len(found.methods)
    lines = [
        f"Intervals are 95 %, Student's t over {count_of(seeds, 'seed')} paired by seed. A seed decides the order of "
        "rows, dropout, and the first weights of a method's own heads and generators. All trainings share one teacher "
        f"and one start of the student. So they cover other seeds on {data}, and say nothing of other data, teachers "
        "or students.",
        f"Each method is judged by itself: among {count_of(len(found.methods), 'method')} without any true difference, "
        f"about {chance:.1f} would be told apart by chance in each column.",
        "No method was tuned: all share learning rate, batch and schedule, and have the arguments of their committed "
        "recipe, mostly their papers'. A method may do better with settings of its own.",
        "Set-up is filling the teacher's cache and deriving a generator, charged to each method as if it were the only "
        "one, though methods share what was made once. Reading, scoring and saving, alike for all, are not counted.",
    ]
    if any(len(one.trainings) > 1 for one in found.standings):
        lines.append(
            "A method in two trainings starts its second from the student that its first kept: with `keep: last` the "
            "last one, where its paper may take the best."
        )
    unlabelled = found.data.details.get("unlabelled training rows")
    if unlabelled:
        lines.append(
            f"All, the teacher included, have the same {found.data.details.get('labelled training rows')} labels. "
            f"Methods with a teacher also read {unlabelled} unlabelled rows; trainings without one take as many steps "
            "on the labelled rows alone. What is gained over no teacher is distillation and unlabelled text together."
        )
    missing = [seed for seed in found.seeds_wanted if seed not in found.seeds]
    if missing:
        lines.append(f"Not finished: seeds {', '.join(map(str, missing))} are to come; the same command goes on.")
    return lines


def about(found: Comparison) -> str:
    """Data, budget, seeds and date in one line."""
    parts = (
        found.data.source,
        f"{count(found.data.train_rows)} training and {count_of(found.data.eval_rows or 0, 'evaluation row')}",
        f"equal {'optimizer steps' if found.budget == 'steps' else 'wall-clock time'}",
        f"seeds {', '.join(map(str, found.seeds))}",
        moment(found.finished or found.started),
    )
    return " · ".join(filter(None, parts))
