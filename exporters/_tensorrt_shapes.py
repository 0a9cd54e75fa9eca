"""Which shapes an engine must accept, derived from those that real rows have."""

from collections.abc import Mapping, Sequence
from statistics import median_low

from kd2deploy.core import Feed, Port, Task
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters._tensorrt_api import ShapeRange

SCORING_BATCH = 32
"""Rows per request when the evaluation set is scored; an engine must take as many."""
HEADROOM = 2
"""Samples show neither the longest nor the shortest row: an axis may be this many times larger or smaller. Ours."""


def shape_ranges(
    task: Task, samples: Sequence[Feed], batch: int, shapes: Mapping[str, Sequence[int]] | None = None
) -> dict[str, ShapeRange]:
    """Smallest, usual and largest shape of each input.

    The batch goes from 1 over `batch` to the larger of `batch` and the scoring batch. Another dynamic axis goes from
    1 to the task's own limit (`max_length` of its spec) or, where it has none, from half the smallest to twice the
    largest size seen; usual is the median seen. `shapes` sets an axis by name to (smallest, usual, largest).
    """
    if not samples:
        raise ConvertError("the shapes of an engine are derived from samples of real inputs; give it at least one")
    known = {axis: _given(axis, sizes) for axis, sizes in (shapes or {}).items()}
    axes = {axis for port in task.inputs for axis in port.axes if isinstance(axis, str)}
    unknown = sorted(set(known) - axes)
    if unknown:
        raise ConvertError(f"shapes names {unknown}, which are not axes of this task; those that are: {sorted(axes)}")
    limit = task.spec().get("max_length")
    for axis in sorted(axes - set(known)):
        if any(port.axes[0] == axis for port in task.inputs):
            known[axis] = (1, batch, max(batch, SCORING_BATCH))
        else:
            seen = _sizes(task.inputs, axis, samples)
            bounds = (1, max(max(seen), limit)) if isinstance(limit, int) else (_half(min(seen)), HEADROOM * max(seen))
            known[axis] = (bounds[0], median_low(seen), bounds[1])
    return {
        port.name: ShapeRange(
            *(tuple(known[axis][which] if isinstance(axis, str) else axis for axis in port.axes) for which in range(3))
        )
        for port in task.inputs
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
        raise SessionError(
            f"{said}: set the variant's trt_from_onnx shapes ({{axis: [min, opt, max]}}) and export anew"
        )


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
