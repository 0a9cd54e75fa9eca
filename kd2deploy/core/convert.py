"""A converter makes one artifact of another: `<target>_from_<source>`, a plain function in `exporters/` or a user's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from kd2deploy.core.arguments import taken_by
from kd2deploy.core.artifact import Artifact
from kd2deploy.core.session import Feed
from kd2deploy.core.target import Target
from kd2deploy.core.task import Task
from kd2deploy.core.trust import mark

TRAITS = "__kd2deploy_traits__"
SUPPLIED = 5
"""Leading arguments of a converter that the program gives; a ranker has no folder."""


class Converter(Protocol):
    """`samples` are feeds of real rows (never of the evaluation set), for calibration and for checking agreement.

    Further keyword arguments are set in the target's variant. Raises ConvertError with the remedy.
    """

    def __call__(
        self, source: Artifact, task: Task, target: Target, folder: Path, samples: Sequence[Feed]
    ) -> Artifact: ...


class Ranker(Protocol):
    """The operations of `source` by name, each with the damage done when it alone is rounded, worst first.

    Of the arguments in the variant's step it is given those that it takes.
    """

    def __call__(
        self, source: Artifact, task: Task, target: Target, samples: Sequence[Feed], **arguments: Any
    ) -> list[tuple[str, float]]: ...


@dataclass(frozen=True)
class Traits:
    """What the program must know of a converter besides how to call it. What says nothing rounds nothing."""

    rounds_to: int = 0
    """Bits that it leaves its operations with; 0 where it rounds nothing."""
    unless: Mapping[str, Any] = field(default_factory=dict)
    """Arguments with which it rounds nothing after all."""
    ranked_by: Ranker | None = None
    """What ranks the operations that it may be told to `exclude` from rounding."""
    on_device: bool = False
    """Whether it must run on the target's device: what comes before it can be packed elsewhere."""
    takes_shapes: bool = False
    """Whether it builds for a range of shapes, which it is told as `shapes`."""


Function = TypeVar("Function", bound=Callable[..., Artifact])


def converter(
    *,
    rounds_to: int = 0,
    unless: Mapping[str, Any] | None = None,
    ranked_by: Callable[..., list[tuple[str, float]]] | None = None,
    on_device: bool = False,
    takes_shapes: bool = False,
) -> Callable[[Function], Function]:
    """Say beside a converter what `Traits` asks, and that it is one.

    Raises ValueError where it lacks the argument that this promises: `exclude` or `shapes`.
    """
    traits = Traits(rounds_to, unless or {}, ranked_by, on_device, takes_shapes)

    def said(function: Function) -> Function:
        takes = taken_by(function, SUPPLIED)
        for name, promised in (("exclude", ranked_by is not None), ("shapes", takes_shapes)):
            if promised and name not in takes:
                raise ValueError(f"{function.__name__} must take {name!r}, a keyword argument, to be a converter of it")
        setattr(function, TRAITS, traits)
        return mark("converter", function)

    return said


def traits_of(function: Callable[..., Any]) -> Traits:
    """What a converter says of itself; of one that says nothing, that it rounds nothing and can run anywhere."""
    found: Traits = getattr(function, TRAITS, Traits())
    return found


def bits_of(function: Callable[..., Any], arguments: Mapping[str, Any]) -> int:
    """Bits that a converter leaves its operations with when it is given `arguments`; 0 where it rounds nothing."""
    traits = traits_of(function)
    if traits.unless:
        takes = taken_by(function, SUPPLIED)
        given = {name: arguments.get(name, takes[name].default) for name in traits.unless}
        if given == dict(traits.unless):
            return 0
    return traits.rounds_to
