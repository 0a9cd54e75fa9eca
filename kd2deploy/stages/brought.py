"""What distillation itself brought: the student against its control, seed by seed."""

import math
from collections.abc import Sequence

import numpy as np

from kd2deploy.core import Scores
from kd2deploy.measure.intervals import Figure, Interval
from kd2deploy.measure.over_seeds import gap_closed_over_seeds
from kd2deploy.measure.paired import gap_closed, score_difference
from kd2deploy.measure.statistics import mean_over_seeds
from kd2deploy.report import Distillation, Estimate, SeedResult
from kd2deploy.stages.job import Job
from kd2deploy.stages.judge import SEED, Names
from kd2deploy.stages.measure import Entry, Measured
from kd2deploy.stages.told import shown


def distillation(
    job: Job, method: str, measured: Measured, names: Names, students: Sequence[Entry], controls: Sequence[Entry]
) -> Distillation:
    """The student against its control on the evaluation set, seed by seed, both as PyTorch runs them."""
    metric = job.task.metric
    ours, plain = by_seed(job, measured, students), by_seed(job, measured, controls)
    seeds = tuple(SeedResult(seed, ours.get(seed), plain.get(seed)) for seed in job.recipe.seeds)
    teacher = measured.scores.get(names.teacher)
    gains = [ours[seed] - plain[seed] for seed in job.recipe.seeds if seed in ours and seed in plain]
    gain: Figure | None = None
    gap = gap_over_seeds_or_examples(job, measured, names, names.student, students, controls)
    control, student = measured.scores.get(names.control or ""), measured.scores.get(names.student)
    if len(gains) > 1:
        gain = mean_over_seeds(gains)
    elif control is not None and student is not None:
        gain = score_difference(job.task, student, control, np.random.default_rng(SEED))
    return Distillation(
        method=method,
        teacher=teacher.metrics[metric] if teacher else None,
        seeds=seeds,
        gain=shown(gain) if gain else None,
        gap_closed=gap_shown(gap, teacher, control, metric),
        student_spread=spread(list(ours.values())),
        control_spread=spread(list(plain.values())),
        sentence=brought(gain),
    )


def gap_over_seeds_or_examples(
    job: Job, measured: Measured, names: Names, student: str, students: Sequence[Entry], controls: Sequence[Entry]
) -> Figure | None:
    """(student - control) / (teacher - control): over the seeds where there are several, else over the examples.

    `student` is the trained student or a file made of it; what that file lost is then taken from every seed's student.
    """
    teacher, made = measured.scores.get(names.teacher), measured.scores.get(student)
    control = measured.scores.get(names.control or "")
    if teacher is None or made is None or control is None:
        return None
    metric = job.task.metric
    ours, plain = by_seed(job, measured, students), by_seed(job, measured, controls)
    both = [seed for seed in ours if seed in plain]
    trained = measured.scores.get(names.student)
    if len(both) < 2 or trained is None:
        truth, rng = teacher.truth, np.random.default_rng(SEED)
        return gap_closed(job.task.headline, truth, made.predictions, teacher.predictions, control.predictions, rng)
    lost = trained.metrics[metric] - made.metrics[metric]
    scores, without = [ours[seed] - lost for seed in both], [plain[seed] for seed in both]
    known = gap_closed_over_seeds(scores, without, teacher.metrics[metric])
    gap = teacher.metrics[metric] - float(np.mean(without))
    share = float(np.mean(scores) - np.mean(without)) / gap if gap else math.nan
    return known or Interval(share, -math.inf, math.inf)


def by_seed(job: Job, measured: Measured, entries: Sequence[Entry]) -> dict[int, float]:
    """The headline metric of each seed's network on the evaluation set, where it was measured."""
    found = zip(job.recipe.seeds, entries, strict=False)
    metric = job.task.metric
    return {seed: measured.scores[entry.name].metrics[metric] for seed, entry in found if entry.name in measured.scores}


def gap_shown(gap: Figure | None, teacher: Scores | None, control: Scores | None, metric: str) -> Estimate | None:
    """The share of the gap that was closed, where there is a gap."""
    if gap is None or teacher is None or control is None:
        return None
    if teacher.metrics[metric] <= control.metrics[metric]:
        return Estimate(None, note="n/a (the teacher is no better than the control)")
    if isinstance(gap, Interval) and not math.isfinite(gap.low):
        return Estimate(None, note="n/a (the teacher is not surely better than the control)")
    return shown(gap)


def brought(gain: Figure | None) -> str:
    if not isinstance(gain, Interval):
        return "No control was trained, so nothing is said about what distillation brought."
    if gain.low > 0:
        return "Distillation helped: the student is better than the same student trained as long without a teacher."
    if gain.high < 0:
        return "Distillation hurt: the same student trained as long without a teacher is better."
    return "No difference to the control can be told: the interval of the gain holds zero."


def spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
