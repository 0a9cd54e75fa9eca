"""The rows whose answers changed most between what is compared with and the deployed file."""

import numpy as np

from kd2deploy.core.examples import Example
from kd2deploy.stages.field import Field

LOST, WON = 8, 4
"""So many rows that got worse are shown, and so many that got better. Ours."""


def examples(field: Field) -> tuple[Example, ...]:
    """The worst first; empty where the task tells no single answers, or nothing changed."""
    before, after = field.scores(field.compared_with("eager")), field.deployed.scores
    metric = field.deployed.model.task.metric
    if before is None or after is None:
        return ()
    one, other = metric.wrong(before.statistics), metric.wrong(after.statistics)
    if one is None or other is None:
        return ()
    rise = other - one
    order = np.argsort(-rise, kind="stable")
    lost = [int(place) for place in order if rise[place] > 0][:LOST]
    won = [int(place) for place in order[::-1] if rise[place] < 0][:WON]
    found = []
    for place in (*lost, *reversed(won)):
        right, was = metric.told(before.statistics, place)
        found.append(Example(place, right, was, metric.told(after.statistics, place)[1]))
    return tuple(found)
