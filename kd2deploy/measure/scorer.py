"""Outputs scored as they come: of each batch its statistics are kept and what agreement reads, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from kd2deploy.core import Array, Metric, Row, Scores
from kd2deploy.errors import MeasureError

Arrays = Mapping[str, Array]
STATISTICS, KEPT, FLAT, ENDS = "statistics/", "kept/", "/flat", "/ends"
"""How the arrays of a file are named."""


@dataclass(frozen=True)
class Evaluation:
    """An artifact's scores, with what agreement reads of its outputs, rows in the order given."""

    scores: Scores
    kept: Arrays
    describe: Mapping[str, str] = field(default_factory=dict)


class Scorer:
    """Scores some rows, whose outputs come in batches in any order."""

    def __init__(self, metric: Metric, rows: Sequence[Row]) -> None:
        self.metric, self.rows = metric, rows
        self.places: list[Sequence[int]] = []
        self.statistics: list[Arrays] = []
        self.kept: list[Arrays] = []

    def add(self, outputs: Arrays, places: Sequence[int]) -> None:
        """The outputs of the rows at `places`. Raises MeasureError for outputs without a batch axis."""
        check_batch(outputs, places)
        self.statistics.append(self.metric.statistics(outputs, [self.rows[place] for place in places]))
        self.kept.append(self.metric.kept(outputs))
        self.places.append(places)

    def finish(self, describe: Mapping[str, str] | None = None) -> Evaluation:
        """The scores of all rows. Raises MeasureError where there are none."""
        statistics = in_row_order(self.statistics, self.places)
        return Evaluation(self.metric.scores(statistics), in_row_order(self.kept, self.places), describe or {})


def in_row_order(parts: Sequence[Arrays], batches: Sequence[Sequence[int]]) -> dict[str, Array]:
    """Batches' arrays [b, ...] as one per name [N, ...], in the examples' own order.

    Axes whose sizes differ between batches (padded positions) are filled up with zeros.
    """
    if not parts:
        raise MeasureError("there are no examples to score; give an evaluation set with at least one row")
    examples = sum(len(places) for places in batches)
    whole: dict[str, Array] = {}
    for name in parts[0]:
        pieces = [part[name] for part in parts]
        for piece, places in zip(pieces, batches, strict=True):
            check_batch({name: piece}, places)
        shape = tuple(max(piece.shape[axis] for piece in pieces) for axis in range(1, pieces[0].ndim))
        filled = np.zeros((examples, *shape), dtype=np.result_type(*(piece.dtype for piece in pieces)))
        for piece, places in zip(pieces, batches, strict=True):
            filled[np.ix_(places, *(range(size) for size in piece.shape[1:]))] = piece
        whole[name] = filled
    return whole


def check_batch(outputs: Arrays, places: Sequence[int]) -> None:
    """Raises MeasureError for an output whose first axis is not the batch."""
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != len(places):
            raise MeasureError(
                f"output {name!r} has shape {array.shape} for a batch of {len(places)}: "
                "its first axis must be the batch; export with a dynamic batch axis"
            )


# files ----------------------------------------------------------------------------------------------------------


def write_evaluation(found: Evaluation | None, file: Path) -> None:
    """Its arrays in one .npz, those of arrays one behind the other; none where nothing was scored."""
    arrays: dict[str, Array] = {}
    for prefix, group in ((STATISTICS, found.scores.statistics), (KEPT, found.kept)) if found else ():
        for name, array in group.items():
            if array.dtype.hasobject:
                arrays[f"{prefix}{name}{FLAT}"] = np.concatenate(array.tolist())
                arrays[f"{prefix}{name}{ENDS}"] = np.cumsum([len(one) for one in array])
            else:
                arrays[prefix + name] = array
    np.savez(file, allow_pickle=False, **cast(dict[str, Any], arrays))


def read_evaluation(file: Path, metric: Metric) -> Evaluation | None:
    """What `write_evaluation` wrote; None where nothing was scored."""
    with np.load(file, allow_pickle=False) as found:
        arrays = {name: found[name] for name in found.files}
    if not arrays:
        return None
    for name in [name.removesuffix(ENDS) for name in arrays if name.endswith(ENDS)]:
        flat, ends = arrays.pop(name + FLAT), arrays.pop(name + ENDS)
        arrays[name] = ragged(np.split(flat, ends[:-1]))
    groups = (
        {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        for prefix in (STATISTICS, KEPT)
    )
    statistics, kept = groups
    return Evaluation(metric.scores(statistics), kept)


def ragged(rows: Sequence[Array]) -> Array:
    """An array of arrays, which numpy would stack where their sizes happen to be equal."""
    found = np.empty(len(rows), dtype=object)
    for place, row in enumerate(rows):
        found[place] = row
    return found
