"""Rows of pictures to restore, read when they are asked for: whole, or as a patch that a training draws.

Features hold bytes: `pixel_values` [3, h, w], and `labels` [3, H, W] of a row that has a target.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kd2deploy.core import Array, Draw, Drawing, Features, Row
from kd2deploy.core.figures import count_of
from kd2deploy.errors import DataError
from kd2deploy.tasks._degrading import Degradation, Part
from kd2deploy.tasks._picture_pairs import check_pair, input_of, opened, size_of, target_of

LARGEST_PATCH = 1024


@dataclass(frozen=True)
class Patches:
    """What a training reads of each picture, drawn anew in every epoch."""

    patch: int = 48
    """Pixels a side of the input that are cut out."""
    flip: float = 0.5
    """Probability that left and right are exchanged, and again that top and bottom are."""
    turn: float = 0.5
    """Probability that rows and columns are exchanged: with `flip`, all eight ways to lay a square."""

    def __post_init__(self) -> None:
        if not 8 <= self.patch <= LARGEST_PATCH:
            raise ValueError(f"patch is from 8 to {LARGEST_PATCH} pixels, got {self.patch}")
        for name in ("flip", "turn"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, from 0 to 1, got {getattr(self, name)!r}")

    def within(self, width: int, height: int, draws: np.random.Generator) -> Part:
        """A patch of an input of this size, which is as large at least."""
        left, top = draws.integers(0, width - self.patch + 1), draws.integers(0, height - self.patch + 1)
        return Part(int(left), int(top), self.patch, self.patch)

    def laid(self, pictures: Sequence[Array], draws: np.random.Generator) -> list[Array]:
        """Pictures [H, W, 3] of one row, all flipped and turned alike."""
        across, down, turned = draws.random(3) < (self.flip, self.flip, self.turn)
        found = list(pictures)
        if across:
            found = [one[:, ::-1] for one in found]
        if down:
            found = [one[::-1] for one in found]
        return [one.transpose(1, 0, 2) for one in found] if turned else found


@final
class PictureRows(Drawing):
    """Each with its input as `degradation` makes it, or as it is given."""

    def __init__(self, rows: Sequence[Row], degradation: Degradation) -> None:
        """Raises DataError for a row whose input and target do not belong together."""
        for row in rows:
            check_pair(row, degradation)
        self.rows, self.degradation = rows, degradation

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, place: int) -> Features:
        """Whole; its noise depends on its place in its split alone."""
        row = self.rows[place]
        found = [input_of(row, self.degradation, np.random.default_rng(int(row.get("index", place))))]
        if row.get("label") is not None:
            found.append(np.asarray(target_of(row, self.degradation), dtype=np.uint8))
        return self.features(place, found)

    def drawn(self, place: int, augmentation: Patches, draw: Draw) -> Features:
        row, draws, times = self.rows[place], np.random.default_rng(draw), self.degradation.scale
        part = augmentation.within(*self.input_size(place), draws)
        found = [input_of(row, self.degradation, draws, part)]
        if row.get("label") is not None:
            left, top = part.left * times, part.top * times
            box = (left, top, left + part.width * times, top + part.height * times)
            found.append(np.asarray(opened(row, "label").crop(box), dtype=np.uint8))
        return self.features(place, augmentation.laid(found, draws))

    def check(self, augmentation: Patches, places: Sequence[int] | None = None) -> None:
        """Every input is as large as a patch."""
        asked = range(len(self)) if places is None else places
        small = [(place, size) for place in asked if min(size := self.input_size(place)) < augmentation.patch]
        if small:
            place, (width, height) = min(small, key=lambda found: min(found[1]))
            where = self.rows[place].get("index", place)
            raise DataError(
                f"{count_of(len(small), 'input')} of a training smaller than a patch of {augmentation.patch}, "
                f"row {where} with {width} x {height} pixels; set "
                f"`augment: {{patch: {max(8, min(width, height))}}}` or leave them out"
            )

    def input_size(self, place: int) -> tuple[int, int]:
        """(width, height) of a row's input."""
        row = self.rows[place]
        if row.get("label") is None:
            return size_of(row["image"])
        width, height = size_of(row["label"])
        return width // self.degradation.scale, height // self.degradation.scale

    def label(self, place: int) -> Any:
        return None

    def features(self, place: int, pictures: Sequence[Array]) -> Features:
        names = ("pixel_values", "labels")
        planes = {
            name: np.ascontiguousarray(one.transpose(2, 0, 1)) for name, one in zip(names, pictures, strict=False)
        }
        return {**planes, "index": int(self.rows[place].get("index", place))}
