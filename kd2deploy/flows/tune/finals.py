"""Finals: the best trials, and the recipe's own, again with the recipe's other seeds. What was best by luck with the
first seed, or is good with some seeds alone, does not win."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from kd2deploy.core import Metric
from kd2deploy.core.figures import count_of
from kd2deploy.errors import TrainError
from kd2deploy.flows.tune.search import Sought
from kd2deploy.report.tuning import Final, Search, Trial
from kd2deploy.run import Done
from kd2deploy.stages.trial import Attempt, described_trial, tried

FINALISTS = 3
"""Best trials that are tried again, beside the recipe's own. Ours."""


def decided(sought: Sought, found: Search) -> Search:
    """The search with its finals, and its best trial by them; as it is where the recipe has one seed, or the budget
    leaves too little for two finalists."""
    seeds, metric = sought.job.recipe.seeds[1:], sought.job.task.metric
    entrants = finalists(sought, found, len(seeds)) if seeds else []
    if len(entrants) < 2:  # nothing to choose from
        return found
    scores, steps, seconds = tried_again(sought, entrants, seeds)
    finals = tuple(Final(one.number, tuple(scores[one.number, seed] for seed in seeds)) for one in entrants)
    best = best_of(found, finals, metric)
    if best is not None:
        sought.job.watcher.say(
            f"{sought.role}: trained again with {count_of(len(seeds), 'further seed')}, trial {best.trial} is the best "
            f"of {len(finals)}: {metric.name} {best.mean:.4f}"
        )
    return replace(
        found,
        best=found.best if best is None else best.trial,
        finals=finals,
        steps=found.steps + steps,
        seconds=found.seconds + seconds,
    )


def best_of(found: Search, finals: Sequence[Final], metric: Metric) -> Final | None:
    """The best on average; of those that are alike the recipe's own, then the one whose trial was better. None where
    each failed with some seed."""
    own = found.own_trial
    whole = [one for one in finals if one.mean is not None]
    ranked = sorted(whole, key=lambda one: own is None or one.trial != own.number)
    return max(ranked, key=lambda one: metric.worth(one.mean or 0.0), default=None)


def finalists(sought: Sought, found: Search, seeds: int) -> list[Trial]:
    """The best trial, the recipe's own and the next best, as many as the rest of the budget holds."""
    worth = sought.job.task.metric.worth
    finished = [one for one in found.trials if one.outcome == "finished"]
    best, *others = sorted(finished, key=lambda one: -worth(one.score or 0.0))[:FINALISTS]
    own = found.own_trial
    order = dict.fromkeys([best.number, *([own.number] if own in finished else []), *(one.number for one in others)])
    pace = found.seconds / found.steps if found.steps else 0.0
    entrants: list[Trial] = []
    steps = 0
    for number in order:
        one = found.trials[number - 1]
        cost = seeds * sought.steps(one.params)
        if not sought.tune.holds(found.steps + steps + cost, found.seconds + (steps + cost) * pace):
            break  # never a lesser one in place of the best
        entrants.append(one)
        steps += cost
    return entrants


def tried_again(
    sought: Sought, entrants: Sequence[Trial], seeds: Sequence[int]
) -> tuple[Mapping[tuple[int, int], float | None], int, float]:
    """The score of each trial with each seed, None where it failed; the steps and seconds of all.

    Raises what has nothing to do with the values that are tried."""
    job, pairs, stages = sought.job, {}, []
    for one in entrants:
        for seed in seeds:
            name, attempt = f"final-{sought.role}{one.number}", Attempt(sought.trainings(one.params), seed)
            stage = described_trial(job, name, sought.role, attempt, sought.start, sought.teacher)
            pairs[stage.name] = one, seed
            stages.append(stage)
    scores: dict[tuple[int, int], float | None] = {}
    steps, seconds = 0, 0.0
    shown: dict[str, Any] = {name: place for place, name in enumerate(pairs)}
    with closing(job.executor.each(job.run, stages, job.watcher, shown)) as done:
        for stage, came in done:
            one, seed = pairs[stage.name]
            if not isinstance(came, Done | TrainError):
                raise came
            scores[one.number, seed] = tried(came).score if isinstance(came, Done) else None
            steps += tried(came).steps if isinstance(came, Done) else sought.steps(one.params)
            seconds += tried(came).seconds if isinstance(came, Done) else 0.0
    return scores, steps, seconds
