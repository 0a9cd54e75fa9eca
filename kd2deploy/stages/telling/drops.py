"""Where the metric is lost: step by step from what is compared with to the deployed file."""

from collections.abc import Sequence

import numpy as np

from kd2deploy.core import Task
from kd2deploy.core.losses import DropLink
from kd2deploy.measure.drop_chain import where_it_drops
from kd2deploy.measure.intervals import shown
from kd2deploy.measure.paired import score_difference
from kd2deploy.stages.field import Entry, Field
from kd2deploy.stages.gap import SEED
from kd2deploy.stages.job import Job
from kd2deploy.stages.telling.figures import metric_of


def drop_chain(task: Task, field: Field) -> tuple[DropLink, ...]:
    """teacher -> student -> each conversion of the deployed variant, with what each step cost."""
    links: list[DropLink] = []
    before: Entry | None = None
    for step, entry in steps(field):
        if entry is None or entry.scores is None:
            continue
        metric = metric_of(task, entry.scores)
        if before is None or before.scores is None:
            links.append(DropLink(step, metric, sha256=entry.artifact.sha256))
        else:
            delta = score_difference(task, entry.scores, before.scores, np.random.default_rng(SEED))
            alike = task.metric.agreement(before.kept, entry.kept)
            links.append(DropLink(step, metric, shown(delta), alike, entry.artifact.sha256))
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
    return where_it_drops(links, whole, "points" if job.task_info.metric_unit == "share" else "number")
