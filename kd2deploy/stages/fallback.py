"""Per-layer fallback: a rounded variant that loses too much, or whose answers are not its source's, is made again with
its most harmful operations left in float, one, two, four ... at a time, until it keeps the score.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from kd2deploy.core import Artifact, Feed, Target, Task, Variant
from kd2deploy.errors import ConvertError, DisagreementError, MeasureError, NotFiniteError, SessionError

Made = TypeVar("Made")
FAILURES = (ConvertError, SessionError, MeasureError)
ROUNDED_TOO_FAR = (DisagreementError, NotFiniteError)
"""The failures that milder arithmetic may mend."""
EXCLUDED = (1, 2, 4, 8)
"""How many operations the search leaves in float, in this order."""


@dataclass(frozen=True)
class Ranker:
    """What ranks a converter's operations by the damage of rounding each alone, and the arguments that both take."""

    function: str
    shared: tuple[str, ...] = ()


HALF = "kd2deploy.exporters.tensorrt.rank_half_sensitivity"
RANKERS: Mapping[str, Ranker] = {
    "int8_from_onnx": Ranker(
        "kd2deploy.exporters.quantize.rank_sensitivity", ("mode", "layout", "per_channel", "reduce_range", "embeddings")
    ),
    "fp8_from_onnx": Ranker("kd2deploy.exporters.tensorrt.rank_fp8_sensitivity"),
    "trt_from_onnx": Ranker(HALF, ("precision",)),
    "fp16_from_onnx": Ranker(HALF),
}
"""Converters that round; the first that stands in a variant is the one to search, since it rounds most."""


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
    """The place of the step whose operations can be left in float; None where nothing is rounded."""
    rounding = {name_of(step): at for at, step in enumerate(variant.steps) if rounds(step)}
    return next((rounding[name] for name in RANKERS if name in rounding), None)


def rounds(step: Mapping[str, Any]) -> bool:
    """An engine that computes in the types of its graph rounds nothing by itself."""
    return name_of(step) != "trt_from_onnx" or step.get("precision", "as_is") != "as_is"


def ranked(step: Mapping[str, Any], source: Artifact, task: Task, target: Target, samples: Sequence[Feed]) -> list[str]:
    """The operations of a step that reads `source`, most harmful first."""
    ranker = RANKERS[name_of(step)]
    module, _, name = ranker.function.rpartition(".")
    known = {key: step[key] for key in ranker.shared if key in step}
    damages = getattr(importlib.import_module(module), name)(source, task, target, samples, **known)
    return [node for node, _ in damages]


def name_of(step: Mapping[str, Any]) -> str:
    return str(step["use"]).rpartition(".")[2]
