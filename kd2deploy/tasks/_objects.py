"""A row's label in detection: the objects in its picture, each with its class and its box.

    [{"category": "dog", "box": [12, 30, 100, 80]}, {"category": "person", "box": [0, 0, 50, 60], "crowd": true}]

A box is left, top, width and height in pixels of the upright picture, as in COCO. A crowd (many objects of a class that
nobody told apart) is not trained on, and in a score it neither asks for an answer nor makes one in it wrong. No object
at all is `[]`; None is a row without a label.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kd2deploy.core import Array, Row
from kd2deploy.core.trust import short
from kd2deploy.errors import DataError

KNOWN = frozenset({"category", "box", "crowd"})
OVERHANG = 1.0
"""Pixels that a box may reach beyond its picture, which is how far conventions of counting pixels differ; the box is
cut. Ours."""


@dataclass(frozen=True)
class Objects:
    """N objects of one picture."""

    classes: Array
    """[N] int64."""
    boxes: Array
    """[N, 4] float64: left, top, width, height in pixels."""
    crowd: Array
    """[N] bool."""


def flaw_of(label: Any) -> str:
    """Why a label is no list of objects; empty for one that is. Whether boxes lie in their picture is not asked."""
    if isinstance(label, str | bytes | Mapping) or not isinstance(label, Sequence):
        return f"{short(label)} is no list of objects, {{category, box: [left, top, width, height]}} each"
    return next((f"object {at + 1}: {flaw}" for at, one in enumerate(label) if (flaw := flaw_of_one(one))), "")


def flaw_of_one(one: Any) -> str:
    if not isinstance(one, Mapping) or not {"category", "box"} <= one.keys() <= KNOWN:
        return f"{short(one)} is not made of category, box and, for crowds, crowd"
    box = one["box"]
    if not isinstance(one["category"], str) or not one["category"].strip():
        return f"its category {short(one['category'])} is no name"
    numbers = isinstance(box, Sequence) and len(box) == 4 and all(map(is_number, box))
    if not numbers:
        return f"its box {short(box)} is not left, top, width and height in pixels"
    if min(box[2:]) <= 0:
        return f"its box {short(list(box))} has no area; give it its width and height, or remove the object"
    return (
        ""
        if isinstance(one.get("crowd", False), bool)
        else f"its crowd {short(one['crowd'])} is neither true nor false"
    )


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)


def objects_of(row: Row, labels: Sequence[str], size: tuple[int, int]) -> Objects | None:
    """The objects of a row whose upright picture has this (width, height), their boxes cut at its border; None for a
    row without a label.

    Raises DataError for a class that the task does not have, and for a box that lies outside of its picture.
    """
    given = row.get("label")
    if given is None:
        return None
    where = f"row {row.get('index', '?')}"
    if flaw := flaw_of(given):
        raise DataError(f"{where}: {flaw}")
    unknown = [one["category"] for one in given if one["category"] not in labels]
    if unknown:
        raise DataError(f"{where}: {short(unknown[0])} is not one of {', '.join(labels)}")
    boxes = np.array([one["box"] for one in given], dtype=np.float64).reshape(-1, 4)
    try:
        boxes = inside(boxes, size)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    return Objects(
        np.array([list(labels).index(one["category"]) for one in given], dtype=np.int64),
        boxes,
        np.array([bool(one.get("crowd", False)) for one in given], dtype=bool),
    )


def inside(boxes: Array, size: tuple[int, int]) -> Array:
    """Boxes [N, 4] cut at the border of a picture of this (width, height).

    Raises ValueError for one that reaches out further than `OVERHANG`, or of which nothing is left.
    """
    limits = np.array(size, dtype=np.float64)
    begins, ends = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    out = (begins < -OVERHANG).any(1) | (ends > limits + OVERHANG).any(1)
    begins, ends = begins.clip(0, limits), ends.clip(0, limits)
    lost = (ends <= begins).any(1)
    if (out | lost).any():
        box = ", ".join(f"{value:g}" for value in boxes[int(np.argmax(out | lost))])
        raise ValueError(
            f"the box [{box}] (left, top, width, height) lies outside of its picture of {size[0]} x {size[1]} pixels; "
            "correct it, or give the picture that it was drawn in"
        )
    return np.asarray(np.concatenate([begins, ends - begins], axis=1))


def shares(boxes: Array, size: tuple[int, int]) -> Array:
    """[N, 4] float32: centre x and y, width and height as shares of a picture's (width, height)."""
    found = np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], axis=1) / np.array([*size, *size])
    return np.asarray(found, dtype=np.float32)


def pixels_of(boxes: Array, size: tuple[int, int]) -> Array:
    """The same back: left, top, width, height in pixels [N, 4] float64, cut at the border."""
    limits = np.array([*size], dtype=np.float64)
    centre, extent = boxes[:, :2].astype(np.float64) * limits, boxes[:, 2:].astype(np.float64) * limits
    begins, ends = (centre - extent / 2).clip(0, limits), (centre + extent / 2).clip(0, limits)
    return np.concatenate([begins, ends - begins], axis=1)
