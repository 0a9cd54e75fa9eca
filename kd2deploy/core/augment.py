"""What a recipe says under `augment`, as the reader of a task understands it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kd2deploy.core.arguments import bind_arguments, one_line
from kd2deploy.errors import Fault

if TYPE_CHECKING:
    from kd2deploy.core.reader import Reader


def augmentation_of(reads: "type[Reader]", given: Any, path: str = "augment") -> tuple[Any, list[Fault]]:
    """What `Drawing.drawn` takes, a value of `Reader.augments`, and what is wrong with what was given."""
    if reads.augments is None:
        return None, [Fault(path, "rows of this task are not augmented; leave it out")]
    if not isinstance(given, Mapping):
        return None, [Fault(path, f"is a mapping such as {{flip: 0.5}}, got {given!r:.60}")]
    known, faults = bind_arguments(reads.augments, given, "augment", path, 0)
    if faults:
        return None, faults
    try:
        return reads.augments(**known), []
    except ValueError as error:
        return None, [Fault(path, one_line(error))]


def augments(reads: "type[Reader]", given: Mapping[str, Any] | None) -> bool:
    """Whether a training with this `augment` draws its rows anew in every epoch."""
    return given is not None or reads.drawn_always


def augmentation(reads: "type[Reader]", given: Mapping[str, Any] | None) -> Any:
    """The same where it was checked before; None where rows are read as they stand. Raises ValueError."""
    if not augments(reads, given):
        return None
    given = given or {}
    found, faults = augmentation_of(reads, given)
    if faults:
        raise ValueError("; ".join(map(str, faults)))
    return found
