"""What a row's `label` is to a network: a class, a number, or a set of labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kd2deploy.core import Array, Row
from kd2deploy.core.trust import short
from kd2deploy.errors import DataError

UNLABELLED = -100


class Target(Protocol):
    """What is learned from rows, and what answers are scored against."""

    def of(self, rows: Sequence[Row]) -> Array:
        """[N, ...]: one entry per row. Raises DataError for a label that is none."""
        ...


@dataclass(frozen=True)
class ClassTarget:
    """One class of several: [N] int64, UNLABELLED where a row has none."""

    labels: tuple[str, ...]

    def of(self, rows: Sequence[Row]) -> Array:
        return np.array([label_index(row, self.labels) for row in rows], dtype=np.int64)


@dataclass(frozen=True)
class ValueTarget:
    """A number: [N] float64, nan where a row has none."""

    def of(self, rows: Sequence[Row]) -> Array:
        return np.array([target_value(row) for row in rows], dtype=np.float64)


@dataclass(frozen=True)
class SetTarget:
    """Any of K labels: [N, K] int64 of 0 and 1, UNLABELLED where a row has none."""

    labels: tuple[str, ...]

    def of(self, rows: Sequence[Row]) -> Array:
        found = [label_set(row, self.labels) for row in rows]
        return np.array(found, dtype=np.int64).reshape(len(rows), len(self.labels))


def label_index(row: Row, labels: Sequence[str]) -> int:
    """The row's class: an index, or a name among `labels`; UNLABELLED for None. Raises DataError."""
    label = row.get("label")
    if label is None:
        return UNLABELLED
    if isinstance(label, str):
        if label not in labels:
            raise DataError(f"row {row.get('index', '?')}: label {short(label)} is not one of {', '.join(labels)}")
        return list(labels).index(label)
    if not 0 <= int(label) < len(labels):
        raise DataError(f"row {row.get('index', '?')}: label {label} is outside 0..{len(labels) - 1}")
    return int(label)


def target_value(row: Row) -> float:
    """The row's value; nan for None. Raises DataError."""
    label = row.get("label")
    try:
        return float("nan") if label is None else float(label)
    except (TypeError, ValueError):
        raise DataError(
            f"row {row.get('index', '?')}: label {short(label)} is not a number, as regression needs"
        ) from None


def label_set(row: Row, labels: Sequence[str]) -> list[int]:
    """The row's labels as 0 and 1 in the labels' order; UNLABELLED throughout for None. Raises DataError.

    A row holds them so already (a list of 0 and 1 as long as `labels`), or as a list of names.
    """
    given, where = row.get("label"), f"row {row.get('index', '?')}"
    if given is None:
        return [UNLABELLED] * len(labels)
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray):
        raise DataError(f"{where}: label {short(given)} is no list of labels")
    if all(isinstance(one, str) for one in given):
        unknown = [one for one in given if one not in labels]
        if unknown:
            raise DataError(f"{where}: label {short(unknown[0])} is not one of {', '.join(labels)}")
        return [int(label in given) for label in labels]
    if len(given) != len(labels) or any(one not in (0, 1) for one in given):
        raise DataError(
            f"{where}: label {short(list(given))} is neither names nor one 0 or 1 for each of {', '.join(labels)}"
        )
    return [int(one) for one in given]
