"""The comparison as its report holds it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kd2deploy.core import Task
from kd2deploy.core.estimate import Estimate, estimate
from kd2deploy.core.figures import count_of
from kd2deploy.flows.compare.contest import BASELINE, CONTROL, Contest, Outing
from kd2deploy.measure.intervals import Interval
from kd2deploy.measure.machine import describe_machine
from kd2deploy.measure.over_seeds import (
    difference_over_examples,
    difference_over_seeds,
    gap_closed_over_seeds,
    ratio_over_seeds,
    score_over_seeds,
)
from kd2deploy.networks.weights import parameters_of
from kd2deploy.recipe import Distill
from kd2deploy.report.comparison import Budget, Comparison, Difference, SeedRun, Standing, Word
from kd2deploy.report.formats import seconds as in_words
from kd2deploy.run import versions
from kd2deploy.stages.telling import data_of

SEED = 0
"""Of the bootstrap over examples."""


OFF_BUDGET = 0.1
"""Share of a time budget by which a method may miss it before that is said. Ours."""


BUSY = 1.0
"""A load of so much above the cores is someone else's work, and is said. Ours."""


def drawn_up(
    contest: Contest, plans: Mapping[str, Sequence[Distill]], budget: Budget, teacher: float, wanted: Sequence[int]
) -> Comparison:
    job, splits = contest.job, contest.job.splits
    complete = contest.outings
    seeds = list(complete[CONTROL])
    standings = [standing(job.task, name, plans[name], complete, teacher) for name in complete]
    machine = describe_machine()
    loads = [run.load for one in standings for run in one.runs]
    busy = (
        f"the load was up to {max(loads):.1f} on {count_of(machine.cores, 'core')}: something else ran, and times are "
        "not exact"
    )
    free = len(splits.unlabelled)
    return Comparison(
        title=f"Distillation methods compared: {job.task.name.replace('_', ' ')}",
        budget=budget,
        budget_about=budget_about(contest),
        budget_s=contest.budget_s,
        task=job.task_info,
        data=data_of(job, {"labelled training rows": len(splits.labelled), "unlabelled training rows": free}),
        teacher=teacher,
        sizes={"teacher": parameters_of(contest.teacher.folder), "student": parameters_of(contest.start.folder)},
        standings=tuple(sorted(standings, key=lambda one: -job.task.metric.worth(one.mean.value or 0.0))),
        seeds=tuple(seeds),
        seeds_wanted=tuple(wanted),
        left_out=dict(contest.left_out),
        warnings=(
            *splits.warnings,
            *([busy] if max(loads) > machine.cores + BUSY else []),
            *off_budget(standings, contest.budget_s),
            *together(contest),
        ),
        machine={
            "processor": machine.cpu,
            "instruction sets": ", ".join(machine.isa),
            "cores": machine.cores,
            "memory (GB)": round(machine.memory_gb, 1),
            "system": machine.system,
            "python": machine.python,
            "GPUs": ", ".join(str(gpu.get("name", "")) for gpu in machine.gpus) or "none",
            "load, lowest and highest": f"{min(loads):.1f} and {max(loads):.1f}",
        },
        versions=versions(),
        recipe=job.recipe.to_yaml(),
    )


def budget_about(contest: Contest) -> str:
    if contest.budget_s is None:
        return f"{count_of(contest.steps, 'optimizer step')} each"
    return (
        f"the wall-clock time, set-up included, that {BASELINE} takes for {count_of(contest.steps, 'step')}, "
        f"{in_words(contest.budget_s)}"
    )


def off_budget(standings: Sequence[Standing], budget_s: float | None) -> list[str]:
    """A sentence for each method whose mean time is not what the budget allowed it."""
    if budget_s is None:
        return []
    spent = {one.method: float(np.mean([run.setup_s + run.seconds for run in one.runs])) for one in standings}
    return [
        f"{name} took {in_words(seconds)} on average and the budget is {in_words(budget_s)}: not at equal time"
        for name, seconds in spent.items()
        if abs(seconds / budget_s - 1) > OFF_BUDGET
    ]


def together(contest: Contest) -> list[str]:
    most = max(one.distilled.at_a_time for found in contest.outings.values() for one in found.values())
    return [f"trainings ran {most} at a time (--jobs): what a step costs is not told"] if most > 1 else []


def standing(
    task: Task,
    name: str,
    entries: Sequence[Distill],
    outings: Mapping[str, Mapping[int, Outing]],
    teacher: float,
) -> Standing:
    """One method's row. Every method has been trained with the same seeds."""
    own, control = list(outings[name].values()), list(outings[CONTROL].values())
    scores = [one.scores.metrics[task.metric.name] for one in own]
    closed = gap_closed_over_seeds(worths(task, own), worths(task, control), task.metric.worth(teacher))
    no_gap = "needs two seeds" if len(own) < 2 else "the teacher is not surely better than no teacher"
    is_control = name == CONTROL
    alone = all(one.distilled.at_a_time == 1 for one in (*own, *control))
    cost = ratio_over_seeds([one.step_s for one in own], [one.step_s for one in control])
    return Standing(
        method=name,
        role="control" if is_control else "baseline" if name == BASELINE else "method",
        trainings=tuple(
            f"{described(entry)}, {count_of(one.steps, 'step')}"
            for entry, one in zip(entries, own[0].distilled.trained, strict=True)
        ),
        runs=tuple(
            SeedRun(
                seed,
                one.scores.metrics[task.metric.name],
                one.steps,
                one.seconds,
                one.distilled.setup,
                one.load,
            )
            for seed, one in outings[name].items()
        ),
        mean=shown(score_over_seeds(scores, task.metric.bounded)),
        spread=float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        against_baseline=None if name in (BASELINE, CONTROL) else difference(task, own, outings[BASELINE]),
        against_control=None if is_control else difference(task, own, outings[CONTROL]),
        gap_closed=None if is_control else shown(closed) if closed else Estimate(None, note=no_gap),
        step_ms=float(np.median([one.step_s for one in own])) * 1e3 if alone else None,
        cost=shown(cost) if alone else Estimate(None, note="n/a (trained beside others)"),
        cached=own[0].distilled.cached,
        generator=own[0].distilled.generator,
    )


def described(entry: Distill) -> str:
    """`rail_kd (dim 128, task 0.33)`."""
    return " + ".join(blocks(entry.method))


def blocks(method: Any) -> Iterator[str]:
    for block in method if isinstance(method, list) else [method]:
        if isinstance(block, str):
            yield block
            continue
        arguments = ", ".join(f"{key} {value}" for key, value in block.items() if key != "use")
        yield f"{block['use']} ({arguments})" if arguments else str(block["use"])


def difference(task: Task, ours: Sequence[Outing], others: Mapping[int, Outing]) -> Difference:
    theirs = list(others.values())
    over_seeds = difference_over_seeds(worths(task, ours), worths(task, theirs), task.metric.bounded)
    over_examples = difference_over_examples(
        task, [one.scores for one in ours], [one.scores for one in theirs], np.random.default_rng(SEED)
    )
    return Difference(shown(over_seeds), shown(over_examples), word(over_seeds))


def worths(task: Task, outings: Sequence[Outing]) -> list[float]:
    """What each training's headline is worth."""
    return [task.metric.worth(one.scores.metrics[task.metric.name]) for one in outings]


def word(found: Interval) -> Word:
    return "better" if found.low > 0 else "worse" if found.high < 0 else "not told apart"


def shown(found: Interval) -> Estimate:
    return estimate(found.estimate, found.low, found.high)
