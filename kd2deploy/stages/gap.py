"""How much of the gap between control and teacher a student closed, over the seeds or over the examples."""

import math
from collections.abc import Mapping

import numpy as np

from kd2deploy.measure.intervals import Figure, Interval
from kd2deploy.measure.over_seeds import gap_closed_over_seeds
from kd2deploy.measure.paired import gap_closed, worth_at
from kd2deploy.stages.field import Entry, Field, Single
from kd2deploy.stages.job import Job

SEED = 0
"""Of the resampling."""


def gap_over_seeds_or_examples(job: Job, field: Field, made: Entry) -> Figure | None:
    """(student - control) / (teacher - control): over the seeds where there are several, else over the examples.

    `made` is the trained student or a file made of it; what that file lost is then taken from every seed's student.
    None where one of the three was not scored.
    """
    teacher, control = field.scores("teacher"), field.scores("control")
    if teacher is None or made.scores is None or control is None:
        return None
    metric = job.task.metric.name
    ours, plain = worth_by_seed(job, field, "student"), worth_by_seed(job, field, "control")
    both = [seed for seed in ours if seed in plain]
    trained = field.student.scores
    if len(both) < 2 or trained is None:
        mine, most, least = (worth_at(job.task, scores) for scores in (made.scores, teacher, control))
        return gap_closed(mine, most, least, len(teacher), np.random.default_rng(SEED))
    best, worth = job.task.metric.worth(teacher.metrics[metric]), job.task.metric.worth
    lost = worth(trained.metrics[metric]) - worth(made.scores.metrics[metric])
    scores, without = [ours[seed] - lost for seed in both], [plain[seed] for seed in both]
    known = gap_closed_over_seeds(scores, without, best)
    gap = best - float(np.mean(without))
    share = float(np.mean(scores) - np.mean(without)) / gap if gap else math.nan
    return known or Interval(share, -math.inf, math.inf)


def worth_by_seed(job: Job, field: Field, role: Single) -> Mapping[int, float]:
    """The same as numbers that are larger where they are better."""
    return {seed: job.task.metric.worth(found) for seed, found in headline_by_seed(job, field, role).items()}


def headline_by_seed(job: Job, field: Field, role: Single) -> Mapping[int, float]:
    """The headline metric of each seed's network on the evaluation set, where it was measured."""
    entries, metric = field.by_seed(role), job.task.metric.name
    scored = {seed: entries[seed].scores for seed in job.recipe.seeds if seed in entries}
    return {seed: found.metrics[metric] for seed, found in scored.items() if found is not None}
