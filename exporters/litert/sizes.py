"""The fixed shapes of a file for LiteRT, and which of them a request is run at.

A file holds the network once and a signature for each of a few sizes, which share its weights. Where a mask says which
positions count, a request may be filled up to the next size; elsewhere that would change its answer.
"""

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from kd2deploy.core import Feed, Ports
from kd2deploy.errors import ConvertError
from kd2deploy.exporters.shapes import ShapeRange

MASK = "attention_mask"
Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each input."""


def sizes_of(ports: Ports, ranges: Mapping[str, ShapeRange]) -> dict[str, dict[str, int]]:
    """The signatures of a file by name, each with the size of every dynamic axis, for the inputs' ranges of shapes.

    The batch has its usual size. An axis along which requests may be filled up has several (`halves`), any other must
    have one. Raises ConvertError where it has more.
    """
    batch, fillable = str(ports.inputs[0].axes[0]), fillable_axes(ports)
    axes = {
        axis: (ranges[port.name].smallest[place], ranges[port.name].usual[place], ranges[port.name].largest[place])
        for port in ports.inputs
        for place, axis in enumerate(port.axes)
        if isinstance(axis, str)
    }
    steps: dict[str, list[int]] = {}
    for axis, (smallest, usual, largest) in axes.items():
        if axis == batch:
            steps[axis] = [usual]
        elif axis in fillable:
            steps[axis] = halves(smallest, usual, largest)
        elif smallest == largest:
            steps[axis] = [largest]
        else:
            raise ConvertError(
                f"a file for LiteRT has fixed shapes, requests have {smallest} to {largest} along {axis}, and to fill "
                f"them up would change their answers; where all have one size, set shapes: "
                f"{{{axis}: [{usual}, {usual}, {usual}]}} of litert_from_torch, and leave its variants out elsewhere"
            )
    found = [dict(zip(steps, sizes, strict=True)) for sizes in product(*steps.values())]
    return {"_".join(f"{axis}_{size}" for axis, size in one.items()): one for one in found}


def fillable_axes(ports: Ports) -> frozenset[str]:
    """The axes along which the mask runs; none where an answer's own size would grow with a request's."""
    batch = ports.inputs[0].axes[0]
    if any(isinstance(axis, str) and axis != batch for port in ports.outputs for axis in port.axes):
        return frozenset()
    return frozenset(str(axis) for port in ports.inputs if port.name == MASK for axis in port.axes if axis != batch)


def halves(smallest: int, usual: int, largest: int) -> list[int]:
    """`largest` and its halves, rounded up, down to the first below `usual`, in rising order: no more than half of what
    a usual request is run at is filling. Ours."""
    found = [largest]
    while found[-1] >= usual and math.ceil(found[-1] / 2) >= max(smallest, 2):
        found.append(math.ceil(found[-1] / 2))
    return found[::-1]


def holds(shapes: Shapes, feed: Feed, ports: Ports) -> bool:
    """Whether a request of any number of rows can be run at these shapes, filled up where that is allowed."""
    fillable = fillable_axes(ports)
    return all(
        len(shapes[port.name]) == feed[port.name].ndim
        and all(
            size <= most if axis in fillable else size == most
            for axis, size, most in zip(port.axes[1:], feed[port.name].shape[1:], shapes[port.name][1:], strict=True)
        )
        for port in ports.inputs
        if port.name in shapes
    )


def filled(array: np.ndarray[Any, Any], shape: tuple[int, ...], kind: Any) -> np.ndarray[Any, Any]:
    """The array in the type `kind`, with zeros behind it on every axis until it has the shape."""
    if array.shape == shape:
        return np.ascontiguousarray(array, dtype=kind)
    whole = np.zeros(shape, dtype=kind)
    whole[tuple(map(slice, array.shape))] = array
    return whole
