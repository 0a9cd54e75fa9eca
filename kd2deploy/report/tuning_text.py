"""What a search says in words and tables, once for the page, for Markdown and for the terminal."""

from typing import Any

from kd2deploy.core.figures import count_of
from kd2deploy.report.formats import MISSING, figure, metric_unit, moment, seconds, with_interval
from kd2deploy.report.tables.table import Cell, Table, plain
from kd2deploy.report.tuning import Outcome, Search, Trial, Tuning

WORDS: dict[Outcome, str] = {
    "finished": "finished",
    "pruned": "ended early",
    "failed": "failed",
    "refused": "refused",
    "repeated": "nothing new",
}
CAPTION = (
    "Each line is a trial: where it crosses an axis is what it tried, and the last axis is its score on the validation "
    "rows, better upward. The stronger a line, the better; dotted ones were ended early, the coloured one won."
)


def about(found: Tuning) -> str:
    """Budget, seeds and date in one line."""
    return " · ".join(
        (f"{found.budget} for each search", f"seeds {', '.join(map(str, found.seeds))}", moment(found.finished))
    )


def score_of(found: Tuning, value: float | None) -> str:
    unit, _, suffix = metric_unit(found.task)
    return figure(value, unit, suffix=suffix)


def conclusions(found: Tuning) -> list[str]:
    """What the search came to."""
    said = []
    for one in found.searches:
        own = one.own_trial
        before = f", {score_of(found, own.score)} with the recipe's own" if own and own.score is not None else ""
        values = ", ".join(f"{name} {plain(value)}" for name, value in one.winner.params.items())
        said.append(
            f"Of the {one.role}'s {count_of(len(one.trials), 'trial')}, trial {one.best} won: {found.task.metric} "
            f"{score_of(found, one.winner.score)} on the validation rows{before}{again(found, one)}. It has "
            f"{values or 'nothing of its own'}."
        )
    for judged in found.judged:
        _, delta, suffix = metric_unit(found.task)
        verdict = f"{judged.outcome} on {judged.target}" if judged.outcome else f"{judged.target}: not judged here"
        gain = f" Gain: {with_interval(judged.gain, delta, suffix=suffix, signed=True)}." if judged.gain else ""
        said.append(f"{verdict}, tuned student against tuned control. {judged.sentence}{gain}")
    if not found.judged:
        said.append("What came of it is not judged yet: the evaluation rows have not been read.")
    return said


def again(found: Tuning, search: Search) -> str:
    """How the winner and the recipe's own came out with other seeds."""
    means = {one.trial: score_of(found, one.mean) for one in search.finals}
    if search.best not in means:
        return ""
    own = search.own_trial
    other = f", the recipe's own {means[own.number]}" if own and own.number in means and own != search.winner else ""
    return f"; with {count_of(len(search.finals[0].scores), 'further seed')} {means[search.best]}{other}"


def caveats(found: Tuning) -> list[str]:
    """What the search does not show."""
    lines = [
        "Trials are compared on the validation rows, with one seed. The best of many looks better there than it is; "
        "only the score on the evaluation rows, which the search has not read, is a fair one.",
        *(
            f"The budget of the {one.role}'s search had no room to train its best trials again with the other seeds, "
            "so it may have won by chance, or be good with the first seed alone. A larger budget has."
            for one in found.searches
            if len(found.seeds) > 1 and not one.finals
        ),
        "A trial that was ended early might have caught up: it was behind half of the finished ones at that share of "
        "its training.",
    ]
    if len(found.searches) == 1:
        lines.append("No control was tuned, so nothing is said about what the teacher brought.")
    return lines


def cost(found: Tuning) -> Table:
    """What each search took."""
    rows = tuple(
        (
            Cell(one.role, tone=one.role),
            Cell(str(len(one.trials))),
            *(Cell(str(one.count(outcome))) for outcome in WORDS),
            Cell(f"{one.steps:,}"),
            Cell(seconds(one.seconds)),
            Cell(one.ended),
        )
        for one in found.searches
    )
    return Table(
        caption=f"What it cost, of {found.budget} each; times are added up, however many trials ran at a time",
        head=("Search of", "Trials", *(word.capitalize() for word in WORDS.values()), "Steps", "Time", "Why it ended"),
        rows=rows,
        numbers=frozenset(range(1, 4 + len(WORDS))),
    )


def seeds(found: Tuning) -> Table | None:
    """Tuned student and tuned control on the evaluation rows, by seed."""
    known = next((one for one in found.judged if one.seeds), None)
    if known is None:
        return None
    return Table(
        caption=f"Retrained over the recipe's seeds: {found.task.metric} on the evaluation rows, as PyTorch runs them",
        head=("Seed", "Tuned control", "Tuned student"),
        rows=tuple(
            (
                Cell(f"seed {one.seed}"),
                Cell(score_of(found, one.control), tone="control"),
                Cell(score_of(found, one.student), tone="student"),
            )
            for one in known.seeds
        ),
        numbers=frozenset({1, 2}),
    )


def finals(found: Tuning, search: Search) -> Table:
    """The best trials with the other seeds; no rows where there are none."""
    own = search.own_trial
    return Table(
        caption=f"The {search.role}'s finals: {found.task.metric} on the validation rows, trained with other seeds",
        head=("Trial", *(f"seed {seed}" for seed in found.seeds[1:]), "Mean"),
        rows=tuple(
            (
                Cell(str(one.trial), under="the recipe's own" if own and one.trial == own.number else ""),
                *(Cell(score_of(found, score)) for score in one.scores),
                Cell(score_of(found, one.mean)),
            )
            for one in search.finals
        ),
        numbers=frozenset(range(1, 2 + len(found.seeds[1:]))),
        strong=frozenset(place for place, one in enumerate(search.finals) if one.trial == search.best),
    )


def trials(found: Tuning, search: Search) -> Table:
    """Every trial, in its order."""
    names = search.names

    def row(one: Trial) -> tuple[Cell, ...]:
        spent = f"{one.steps:,}" if one.steps else ""
        return (
            Cell(f"{one.number}"),
            Cell(WORDS[one.outcome], under=one.note),
            Cell(score_of(found, one.score)),
            *(Cell(plain(one.params[name]) if name in one.params else "") for name in names),
            Cell(spent),
            Cell(seconds(one.seconds) if one.seconds else ""),
        )

    return Table(
        caption=f"Every trial of the {search.role}",
        head=("Trial", "Outcome", found.task.metric, *names, "Steps", "Time"),
        rows=tuple(map(row, search.trials)),
        numbers=frozenset({2, *range(3, 5 + len(names))}),
        strong=frozenset({search.best - 1}),
    )


def space(search: Search) -> Table:
    """What was tried of each thing."""
    return Table(
        caption=f"What was searched of the {search.role}",
        head=("Name", "In the recipe", "Tried"),
        rows=tuple(
            (
                Cell(name, code=True),
                Cell(plain(search.own.get(name)) if name in search.own else MISSING),
                Cell(tried(one)),
            )
            for name, one in search.space.items()
        ),
    )


def tried(one: Any) -> str:
    if "one of" in one:
        return ", ".join(one["one of"])
    return f"{one['low']:.4g} to {one['high']:.4g}" + (", by its logarithm" if one["log"] else "")
