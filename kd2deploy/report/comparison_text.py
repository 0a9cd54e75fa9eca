"""What a comparison says in words, once for the page, for Markdown and for the terminal."""

from collections.abc import Sequence

from kd2deploy.core.figures import count_of
from kd2deploy.report.comparison import Budget, Comparison, Difference, Standing
from kd2deploy.report.formats import count, moment
from kd2deploy.report.ranking import Ranked

NO_TEACHER = "no teacher"
LEAST_SEEDS = 2
EXPECTED_BY_CHANCE = 0.05
"""Share of methods without any true difference that a 95 % interval tells apart all the same."""


def label(one: Standing | Ranked) -> str:
    return f"{one.method} ({NO_TEACHER})" if one.role == "control" else one.method


def equal(budget: Budget) -> str:
    """What all methods had alike."""
    return f"equal {'optimizer steps' if budget == 'steps' else 'wall-clock time'}"


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
        equal(found.budget),
        f"seeds {', '.join(map(str, found.seeds))}",
        moment(found.finished or found.started),
    )
    return " · ".join(filter(None, parts))
