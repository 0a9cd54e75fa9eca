"""Per-layer fallback: a rounded variant that loses too much, or whose answers are not its source's, is made again with
its most harmful operations left in float, one, two, four ... at a time, until it keeps the score.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from kd2deploy.core import Artifact, Feed, Target, Task, Variant
from kd2deploy.core.arguments import REST, bind_arguments, grouped, taken_by
from kd2deploy.errors import ConvertError, DisagreementError, MeasureError, NotFiniteError, SessionError
from kd2deploy.recipe.steps import Step, bits, name_of, traits

Made = TypeVar("Made")
FAILURES = (ConvertError, SessionError, MeasureError)
ROUNDED_TOO_FAR = (DisagreementError, NotFiniteError)
"""The failures that milder arithmetic may mend."""
RANKER_SUPPLIED = 4
"""Leading arguments of a ranker: source, task, target and samples."""
EXCLUDED = (1, 2, 4, 8)
"""How many operations the search leaves in float, in this order."""


def with_exclusions(
    variant: Variant,
    attempt: Callable[[Variant], tuple[Made, float]],
    rank: Callable[[int], Sequence[str]],
    least: float,
) -> tuple[Made, float]:
    """What `attempt` makes of a variant, with as few operations left in float as keep the score `least`, and its score.

    `rank` gives the operations of the step at a place, most harmful first; it is asked only where the variant as it
    stands does not do. Where nothing keeps the score, the best attempt is returned; where all fail, the error of the
    first is raised.
    """
    found: list[tuple[Made, float]] = []
    failures: list[Exception] = []
    for one in milder(variant, rank):
        try:
            found.append(attempt(one))
        except FAILURES as error:
            failures.append(error)
            if one is variant and not isinstance(error, ROUNDED_TOO_FAR):
                break
        else:
            if found[-1][1] >= least:
                break
    if not found:
        raise failures[0]
    return max(found, key=lambda pair: pair[1])


def milder(variant: Variant, rank: Callable[[int], Sequence[str]]) -> Iterator[Variant]:
    """The variant, then the same with ever more operations left in float beside those that it excludes itself."""
    yield variant
    at = searched(variant)
    if at is None:
        return
    step = variant.steps[at]
    own = list(step.get("exclude", ()))
    ranked = [name for name in rank(at) if name not in own]
    for count in EXCLUDED:
        if count >= len(ranked):
            return
        less = {**step, "exclude": own + ranked[:count]}
        yield replace(variant, steps=(*variant.steps[:at], less, *variant.steps[at + 1 :]))


def searched(variant: Variant) -> int | None:
    """The place of the step whose operations can be left in float, the one that rounds most; None where none can."""
    rounding = [(bits(step), at) for at, step in enumerate(variant.steps) if bits(step) and traits(step).ranked_by]
    return min(rounding)[1] if rounding else None


def ranked(step: Step, source: Artifact, task: Task, target: Target, samples: Sequence[Feed]) -> list[str]:
    """The operations of a step that reads `source`, most harmful first. Raises ConvertError."""
    ranker = traits(step).ranked_by
    assert ranker is not None, "asked for a step that is searched alone"
    own = taken_by(ranker, RANKER_SUPPLIED)
    given = {name: value for name, value in step.items() if name in own or (REST in own and name != "use")}
    known, faults = bind_arguments(ranker, given, name_of(step), "step", RANKER_SUPPLIED)
    if faults:
        raise ConvertError("; ".join(map(str, faults)))
    return [node for node, _ in ranker(source, task, target, samples, **grouped(ranker, known))]
