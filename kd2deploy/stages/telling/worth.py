"""Whether there was anything to learn: teacher and deployed file against a linear model, and the teacher for itself."""

from collections.abc import Sequence

from kd2deploy.core import Metric, Scores
from kd2deploy.core.figures import Unit, count_of
from kd2deploy.report import Curve, Finding, Floor, Report
from kd2deploy.report.formats import figure, metric_unit
from kd2deploy.stages.field import Field

UNDER_TRAINED = "under-trained teacher"
STILL_FALLS, OF_THE_FIRST = 0.9, 0.02
"""A teacher had not settled whose last epoch ends with less than this share of the loss before, and whose loss falls by
more than this share of its first: what is near zero may fall as it likes. Ours."""
REMEDY = "fine-tune the teacher longer or at a higher learning rate, or give it more labels."


def worth_learning_from(facts: Report, field: Field, metric: Metric, limit: float | None) -> list[Finding]:
    """A teacher that knows too little, a deployed file that is beaten without a network, and a `limit` of the drop that
    needs none."""
    unit, _, suffix = metric_unit(facts.task)
    teacher, control = field.scores("teacher"), field.scores("control")
    found = []
    if teacher is not None:
        found += empty_limit(teacher, facts, metric, limit)
        found += below_floor("The teacher", teacher, facts.floors, metric, (unit, suffix), REMEDY)
        if control is not None and worth(control, metric) > worth(teacher, metric):
            before, after = (figure(one.metrics[metric.name], unit, suffix=suffix) for one in (teacher, control))
            sentence = f"The teacher ({before}) is behind the control, which had no teacher ({after})."
            found.append(Finding(sentence, REMEDY, word=UNDER_TRAINED))
    found += still_falling(facts.curves)
    if field.deployed.scores is not None:
        remedy = "where that does, deploy it: it is smaller and faster than any network."
        found += below_floor("The deployed file", field.deployed.scores, facts.floors, metric, (unit, suffix), remedy)
    return found


def empty_limit(teacher: Scores, facts: Report, metric: Metric, limit: float | None) -> list[Finding]:
    """A limit of the drop that is as large as all that the teacher has over what needs no network."""
    known = best_floor(facts.floors, metric)
    if limit is None or known is None:
        return []
    ahead, floor = worth(teacher, metric) - known[0], known[1]
    if not 0 <= ahead <= limit:
        return []
    _, delta, suffix = metric_unit(facts.task)
    allowed, more = (figure(value, delta, suffix=suffix) for value in (limit, ahead))
    sentence = (
        f"The drop that is allowed ({allowed}) is no less than what the teacher has over {floor.name} ({more}), so "
        "what needs no network would hold that limit too."
    )
    return [Finding(sentence, f"a smaller `max_drop`; or {REMEDY}", word="empty limit")]


def best_floor(floors: Sequence[Floor], metric: Metric) -> tuple[float, Floor] | None:
    """What is had without a network at best, and its worth."""
    known = [(metric.worth(one.metric.value), one) for one in floors if one.metric.value is not None]
    return max(known, key=lambda pair: pair[0]) if known else None


def worth(scores: Scores, metric: Metric) -> float:
    return metric.worth(scores.metrics[metric.name])


def below_floor(
    who: str, scores: Scores, floors: Sequence[Floor], metric: Metric, told: tuple[Unit, str], remedy: str
) -> list[Finding]:
    """Told of the best of those that are better; `told` is the metric's unit and suffix."""
    known = best_floor(floors, metric)
    if known is None or known[0] <= worth(scores, metric):
        return []
    one = known[1]
    own, other = (figure(value, told[0], suffix=told[1]) for value in (scores.metrics[metric.name], one.metric.value))
    fitted = f", fitted on {count_of(one.rows, 'labelled row')}" if one.rows else ""
    return [Finding(f"{who} ({own}) is behind {one.name} ({other}{fitted}).", remedy, word="below the floor")]


def still_falling(curves: Sequence[Curve]) -> list[Finding]:
    """A teacher that was fine-tuned here and whose loss had not settled when its epochs were over."""
    points = next((curve.points for curve in curves if curve.role == "teacher"), ())
    losses = [point.losses["loss"] for point in points if "loss" in point.losses]
    if len(losses) < 2 or losses[-1] >= STILL_FALLS * losses[-2]:
        return []
    if losses[-2] - losses[-1] <= OF_THE_FIRST * losses[0]:
        return []
    sentence = f"The teacher's training loss was still falling at its end ({losses[-2]:.3g}, then {losses[-1]:.3g})."
    return [Finding(sentence, REMEDY, word=UNDER_TRAINED)]
