"""Where the metric is lost: step by step from the teacher to the deployed file, and class by class."""

import math
from collections.abc import Sequence

import numpy as np

from kd2deploy.core import Task
from kd2deploy.measure.drop_chain import Link, where_it_drops
from kd2deploy.measure.intervals import Interval
from kd2deploy.measure.paired import score_difference
from kd2deploy.report import ClassDrop, DropLink, Estimate
from kd2deploy.stages.field import Entry, Field
from kd2deploy.stages.gap import SEED
from kd2deploy.stages.job import Job
from kd2deploy.stages.judge import Judged
from kd2deploy.stages.telling.figures import metric_of, shown


def class_drops(judged: Judged) -> tuple[ClassDrop, ...]:
    return tuple(ClassDrop(one.label, one.rows, one.before, one.after, shown(one.drop)) for one in judged.class_drops)


def drop_chain(task: Task, field: Field) -> tuple[DropLink, ...]:
    """teacher -> student -> each conversion of the deployed variant, with what each step cost."""
    links: list[DropLink] = []
    before: Entry | None = None
    for step, entry in steps(field):
        if entry is None or entry.scores is None:
            continue
        metric = metric_of(task, entry.scores)
        if before is None or before.scores is None:
            links.append(DropLink(step, metric))
        else:
            delta = score_difference(task, entry.scores, before.scores, np.random.default_rng(SEED))
            links.append(DropLink(step, metric, shown(delta), task.metric.agreement(before.outputs, entry.outputs)))
        before = entry
    return tuple(links)


def steps(field: Field) -> list[tuple[str, Entry | None]]:
    between = [(entry.name, entry) for entry in field.links]
    deployed = field.deployed
    first: list[tuple[str, Entry | None]] = [
        (field.compared_with("eager"), field.baseline()),
        ("student", field.student),
    ]
    return [*first, *between, (f"deployed ({deployed.name})", deployed)]


def drop_sentence(job: Job, field: Field, links: Sequence[DropLink]) -> str:
    """Where the metric is lost, in words."""
    first, last = field.scores(field.compared_with("eager")), field.deployed.scores
    whole = None
    if first is not None and last is not None:
        whole = score_difference(job.task, last, first, np.random.default_rng(SEED))
    steps = [Link(link.step, change_of(link.delta)) for link in links]
    return where_it_drops(steps, whole, "points" if job.task_info.metric_unit == "share" else "number")


def change_of(delta: Estimate | None) -> Interval | None:
    if delta is None or delta.value is None:
        return None
    low, high = (math.nan if end is None else end for end in (delta.low, delta.high))
    return Interval(delta.value, low, high)
