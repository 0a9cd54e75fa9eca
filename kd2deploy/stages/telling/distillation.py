"""What distillation itself brought: the student against its control, seed by seed."""

import math
from collections.abc import Sequence

import numpy as np

from kd2deploy.core import Metric, Scores
from kd2deploy.core.estimate import Estimate
from kd2deploy.measure.intervals import Figure, Interval, shown
from kd2deploy.measure.over_seeds import difference_over_seeds
from kd2deploy.measure.paired import score_difference
from kd2deploy.measure.verdict import NO_GAP
from kd2deploy.report import Distillation, SeedResult
from kd2deploy.stages.field import Field
from kd2deploy.stages.gap import SEED, gap_over_seeds_or_examples, headline_by_seed
from kd2deploy.stages.job import Job

UNTRAINED = "Nothing was trained: the student was given finished, so there is no control to compare it with."


def distillation(job: Job, method: str, field: Field) -> Distillation:
    """The student against its control on the evaluation set, seed by seed, both as PyTorch runs them."""
    metric = job.task.metric.name
    if not job.recipe.distill:
        found = field.scores("teacher")
        return Distillation(method, teacher=found.metrics[metric] if found else None, sentence=UNTRAINED)
    ours, plain = headline_by_seed(job, field, "student"), headline_by_seed(job, field, "control")
    seeds = tuple(SeedResult(seed, ours.get(seed), plain.get(seed)) for seed in job.recipe.seeds)
    both = [seed for seed in job.recipe.seeds if seed in ours and seed in plain]
    teacher, control, student = field.scores("teacher"), field.scores("control"), field.student.scores
    gain: Figure | None = None
    if len(both) > 1:
        mine, other = ([job.task.metric.worth(of[seed]) for seed in both] for of in (ours, plain))
        gain = difference_over_seeds(mine, other, job.task.metric.bounded)
    elif control is not None and student is not None:
        gain = score_difference(job.task, student, control, np.random.default_rng(SEED))
    return Distillation(
        method=method,
        teacher=teacher.metrics[metric] if teacher else None,
        seeds=seeds,
        gain=shown(gain) if gain else None,
        gap_closed=gap_shown(gap_over_seeds_or_examples(job, field, field.student), teacher, control, job.task.metric),
        student_spread=spread(list(ours.values())),
        control_spread=spread(list(plain.values())),
        sentence=brought(gain, own_settings=bool(job.recipe.control_changes)),
    )


def gap_shown(gap: Figure | None, teacher: Scores | None, control: Scores | None, metric: Metric) -> Estimate | None:
    """The share of the gap that was closed, where there is a gap."""
    if gap is None or teacher is None or control is None:
        return None
    best, plain = (metric.worth(scores.metrics[metric.name]) for scores in (teacher, control))
    if best <= plain:
        return Estimate(None, note="n/a (the teacher is no better than the control)")
    if isinstance(gap, Interval) and not math.isfinite(gap.low):
        return Estimate(None, note=f"n/a ({NO_GAP})")
    return shown(gap)


def brought(gain: Figure | None, own_settings: bool = False) -> str:
    """What the gain says; a control with settings of its own need not be trained as long."""
    if not isinstance(gain, Interval):
        return "No control was trained, so nothing is said about what distillation brought."
    how = "without a teacher, with settings of its own," if own_settings else "as long without a teacher"
    if gain.low > 0:
        return f"Distillation helped: the student is better than the same student trained {how.rstrip(',')}."
    if gain.high < 0:
        return f"Distillation hurt: the same student trained {how} is better."
    return "No difference to the control can be told: the interval of the gain holds zero."


def spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
