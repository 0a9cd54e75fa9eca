"""Which shapes an engine must accept, derived from those that real rows have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

import numpy as np

from kd2deploy.core import Feed, Port, Task
from kd2deploy.errors import ConvertError, SessionError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ShapeRange:
    """The shapes that an engine accepts for one input, and the one that it is made for."""

    smallest: Shape
    usual: Shape
    largest: Shape


SCORING_BATCH = 32
"""Rows per request when the evaluation set is scored; an engine must take as many."""


HEADROOM = 2
"""Samples show neither the longest nor the shortest row: an axis may be this many times larger or smaller. Ours."""


def axis_ranges(
    task: Task, requests: Sequence[Feed], batch: int, also: Sequence[Feed] = ()
) -> dict[str, tuple[int, int, int]]:
    """Smallest, usual and largest size of each dynamic axis.

    The batch goes from 1 over `batch` to the larger of `batch` and the scoring batch, which is 1 where rows are scored
    alone. Another axis goes from 1 to the
    reader's own limit or, where it has none, from half the smallest to twice the largest size
    that `requests` and `also` show; usual is the median of the requests alone.
    """
    if not requests:
        raise ConvertError("the shapes of an engine are derived from samples of real inputs; give it at least one")
    found = {}
    for axis in sorted({axis for port in task.inputs for axis in port.axes if isinstance(axis, str)}):
        if any(port.axes[0] == axis for port in task.inputs):
            found[axis] = (1, batch, max(batch, 1 if task.reader.scored_alone else SCORING_BATCH))
        else:
            asked = _sizes(task.inputs, axis, requests)
            seen = asked + _sizes(task.inputs, axis, also)
            limit = task.reader.limits.get(axis)
            bounds = (1, max(max(seen), limit)) if limit is not None else (_half(min(seen)), HEADROOM * max(seen))
            found[axis] = (bounds[0], median_low(asked), bounds[1])
    return found


def shape_ranges(
    task: Task, samples: Sequence[Feed], batch: int, shapes: Mapping[str, Sequence[int]] | None = None
) -> dict[str, ShapeRange]:
    """Smallest, usual and largest shape of each input: `axis_ranges` of the samples, but for what `shapes` gives."""
    found = axis_ranges(task, samples, batch)
    unknown = sorted(set(shapes or {}) - set(found))
    if unknown:
        raise ConvertError(f"shapes names {unknown}, which are not axes of this task; those that are: {sorted(found)}")
    return port_ranges(task.inputs, {**found, **(shapes or {})})


def port_ranges(ports: Sequence[Port], shapes: Mapping[str, Sequence[int]]) -> dict[str, ShapeRange]:
    """Each input's shapes where its axes have the sizes (smallest, usual, largest)."""
    known = {axis: _given(axis, sizes) for axis, sizes in shapes.items()}
    return {
        port.name: ShapeRange(
            *(tuple(known[axis][which] if isinstance(axis, str) else axis for axis in port.axes) for which in range(3))
        )
        for port in ports
    }


def usual_request(feed: Feed, ranges: Mapping[str, ShapeRange]) -> Feed:
    """`feed` cut or repeated to the usual shape: what an engine's speed is compared on."""
    return {
        name: feed[name][
            np.ix_(*(np.arange(size) % have for size, have in zip(one.usual, feed[name].shape, strict=True)))
        ]
        for name, one in ranges.items()
    }


def outside(feed: Feed, ranges: Mapping[str, ShapeRange]) -> str:
    """Which input an engine does not accept, and why; empty where it accepts them all."""
    for name, accepted in ranges.items():
        shape = feed[name].shape
        within = len(shape) == len(accepted.smallest) and all(
            low <= size <= high for low, size, high in zip(accepted.smallest, shape, accepted.largest, strict=True)
        )
        if not within:
            return f"{name} has shape {shape}; the engine takes {accepted.smallest} to {accepted.largest}"
    return ""


def refuse_outside(feed: Feed, ranges: Mapping[str, ShapeRange]) -> None:
    if said := outside(feed, ranges):
        raise SessionError(f"{said}: set shapes of the variant's last step ({{axis: [min, opt, max]}}) and export anew")


def _half(size: int) -> int:
    return max(1, size // HEADROOM)


def _given(axis: str, sizes: Sequence[int]) -> tuple[int, int, int]:
    if len(sizes) != 3 or not 1 <= sizes[0] <= sizes[1] <= sizes[2]:
        raise ConvertError(f"shapes.{axis} must be [smallest, usual, largest] in rising order, got {list(sizes)}")
    return sizes[0], sizes[1], sizes[2]


def _sizes(ports: Sequence[Port], axis: str, samples: Sequence[Feed]) -> list[int]:
    return sorted(
        feed[port.name].shape[place]
        for feed in samples
        for port in ports
        for place, name in enumerate(port.axes)
        if name == axis
    )
