"""The rows and their order in each epoch: a function of seed and epoch alone, so that a resumed epoch goes on in it."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset, Sampler

from kd2deploy.core import Draw, Features, drawn

POOL = 50
"""Batches that are sorted by length together: enough to pad little, few enough to stay random. The value of ours."""


def shuffled(rows: int, generator: torch.Generator) -> list[int]:
    """Rows in random order."""
    found: list[int] = torch.randperm(rows, generator=generator).tolist()
    return found


def grouped(lengths: Sequence[int], batch: int, generator: torch.Generator) -> list[int]:
    """Rows in random order, cut so that each `batch` of them are of like length; an incomplete batch comes last."""
    rows = shuffled(len(lengths), generator)
    pools = [rows[at : at + POOL * batch] for at in range(0, len(rows), POOL * batch)]
    ordered = [row for pool in pools for row in sorted(pool, key=lambda row: -lengths[row])]
    batches = [ordered[at : at + batch] for at in range(0, len(ordered), batch)]
    whole = [found for found in batches if len(found) == batch]
    rest = [row for found in batches if len(found) < batch for row in found]
    return [row for at in shuffled(len(whole), generator) for row in whole[at]] + rest


class Alike(NamedTuple):
    """Rows of one class that stand side by side, so that a batch holds some of each that it holds."""

    classes: Sequence[int]
    """By row; negative where it has none."""
    rows: int
    """How many stand together."""


def side_by_side(alike: Alike, generator: torch.Generator) -> list[list[int]]:
    """All rows in random groups of one class each; what is left over of the classes stands with others left over, and
    an incomplete group comes last."""
    groups: list[list[int]] = []
    open_groups: dict[int, list[int]] = {}
    for row in shuffled(len(alike.classes), generator):
        group = open_groups.setdefault(alike.classes[row], [])
        group.append(row)
        if len(group) == alike.rows and alike.classes[row] >= 0:
            groups.append(open_groups.pop(alike.classes[row]))
    left = [row for group in open_groups.values() for row in group]
    return groups + [left[at : at + alike.rows] for at in range(0, len(left), alike.rows)]


def groups_in_order(
    groups: Sequence[Sequence[int]], lengths: Sequence[int] | None, batch: int, generator: torch.Generator
) -> list[int]:
    """The rows of whole groups in random order, or with `lengths` in batches of like length; an incomplete one last."""
    size = len(groups[0])
    whole = [group for group in groups if len(group) == size]
    if lengths is None:
        order = shuffled(len(whole), generator)
    else:
        order = grouped([max(lengths[row] for row in group) for group in whole], batch // size, generator)
    return [row for group in [*(whole[at] for at in order), *groups[len(whole) :]] for row in group]


class Numbered(Dataset[Features]):
    """The rows trained on, `index` being their place among these, whatever they were numbered before: banks are as
    large as the training set, and the teacher's cached answers are found by it.

    They are asked for by (epoch, place). Where there is an augmentation, it makes each another one in every epoch.
    """

    def __init__(self, rows: Sequence[Features], augmentation: Any = None, seed: int = 0) -> None:
        self.rows, self.augmentation, self.seed = rows, augmentation, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: tuple[int, int]) -> Features:
        return self.drawn(Draw(self.seed, *at), self.augmentation)

    def drawn(self, draw: Draw, augmentation: Any) -> Features:
        """A row as a draw makes it; as it stands where there is no augmentation."""
        row = self.rows[draw.row] if augmentation is None else drawn(self.rows, draw.row, augmentation, draw)
        return {**row, "index": draw.row}


class Order(Sampler[tuple[int, int]]):
    """(epoch, row) for every row of an epoch. Whoever starts an epoch sets `epoch` first."""

    def __init__(
        self, lengths: Sequence[int] | None, rows: int, batch: int, seed: int, alike: Alike | None = None
    ) -> None:
        self.lengths, self.rows, self.batch, self.seed, self.alike = lengths, rows, batch, seed, alike
        self.epoch = 0

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter([(self.epoch, row) for row in self.ordered(generator)])

    def ordered(self, generator: torch.Generator) -> list[int]:
        """The rows of an epoch."""
        if self.alike is not None:
            return groups_in_order(side_by_side(self.alike, generator), self.lengths, self.batch, generator)
        of = self.lengths
        return shuffled(self.rows, generator) if of is None else grouped(of, self.batch, generator)
