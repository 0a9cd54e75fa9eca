"""Labels of rows: what is missing, which classes there are, and each row's label as a class's place or a number."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd2deploy.core.mapped import having, values_of
from kd2deploy.core.trust import short
from kd2deploy.data._columns import suggestion
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

Row = dict[str, Any]
SHOWN = 5
"""Rows named in a message."""
SEVERAL = (list, tuple, set, dict, np.ndarray)


def is_missing(value: Any) -> bool:
    """None, not-a-number, or a text of nothing but white space."""
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    )


def places(rows: Sequence[int]) -> str:
    """`row 3 has` or `rows 3, 5, 8 ... (12 in all) have`, counted from 1."""
    shown = ", ".join(str(row + 1) for row in rows[:SHOWN])
    if len(rows) == 1:
        return f"row {shown} has"
    return f"rows {shown}{f' ... ({len(rows)} in all)' if len(rows) > SHOWN else ''} have"


def class_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """The labels that occur, sorted; whole numbers by size, and two ways of writing one (1 and 1.0) are one class.

    This order is the one idea of it: of a file, of a folder of pictures, of a network that names no classes.
    """
    found = set(map(label_name, values_of(rows, "label")))
    numbers = {whole_number(name) for name in found}
    if None in numbers:
        return tuple(sorted(found))
    shortest = {whole_number(name): name for name in sorted(found, key=len, reverse=True)}
    return tuple(shortest[number] for number in sorted(number for number in numbers if number is not None))


def label_name(label: Any) -> str:
    """1.0 as a file of numbers reads a class called 1."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return str(label).strip()


def whole_number(name: str) -> int | None:
    """What `1`, `-1` and `1.0` say; None for what is no whole number, or is written in digits of another script."""
    return int(name.partition(".")[0]) if re.fullmatch(r"[+-]?[0-9]{1,18}(\.0*)?", name) else None


def refuse_several(rows: Sequence[Row], split: str) -> None:
    """Raises DataError for labels that are lists or other things that name no one class."""
    several = [place for place, label in enumerate(values_of(rows, "label")) if isinstance(label, SEVERAL)]
    if several:
        label = rows[several[0]]["label"]
        kind = "dictionary" if isinstance(label, dict) else "list"
        raise DataError(
            f"{split}: {places(several)} a {kind} as label ({label!r:.60}), and this task "
            "takes one class a row; keep one of them, or use `task: text_multilabel`, which takes several"
        )


def with_indices(rows: Sequence[Row], names: Sequence[str], tables: Tables, split: str) -> Sequence[Row]:
    """Rows with the class's place among `names`. Where the source names its classes, numbers are places already."""
    known = places_of(names)
    own = tables.labels or ()
    found: list[int] = []
    strange: list[tuple[int, str]] = []
    for place, label in enumerate(values_of(rows, "label")):
        if own and isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(own):
            label = own[label]
        name = label_name(label)
        at = known.get(name, known.get(whole_number(name)))
        if at is not None:
            found.append(at)
        else:
            strange.append((place, name))
    if strange:
        odd = sorted({label for _, label in strange})
        raise DataError(
            f"{split}: {places([place for place, _ in strange])} a label that is not among the classes "
            f"({', '.join(map(short, odd[:SHOWN]))}); {suggestion(odd[0], names)} Classes come from the training rows, "
            "or from `labels` of the task"
        )
    return having(rows, "label", found)


def places_of(names: Sequence[str]) -> dict[str | int | None, int]:
    """The places of classes by their name, and by the whole number that one name alone says: one file may hold 1 where
    the other has 1.0."""
    numbers = [whole_number(name) for name in names]
    found: dict[str | int | None, int] = {name: place for place, name in enumerate(names)}
    found |= {
        number: place for place, number in enumerate(numbers) if number is not None and numbers.count(number) == 1
    }
    return found


def check_classes(kept: Mapping[str, Sequence[Row]], names: Sequence[str], tables: Tables, warnings: list[str]) -> None:
    """Raises DataError for a single class, and for classes that are judged and were never trained."""
    trained = set(values_of(kept["train"], "label"))
    if len(trained) < 2:
        only = names[next(iter(trained))]
        raise DataError(
            f"{tables.name('train')}: every row has the label {short(only)}; a classifier needs two classes"
        )
    for split, rows in kept.items():
        unseen = sorted(set(values_of(rows, "label")) - trained)
        if unseen:
            raise DataError(
                f"{tables.name(split)}: the class {short(names[unseen[0]])} has no training row, and can only be "
                "answered wrongly; add rows to the training split or leave the class out"
            )
    idle = [name for place, name in enumerate(names) if place not in trained]
    if idle:
        warnings.append(f"no row at all has the class {', '.join(map(short, idle[:SHOWN]))}")


def with_numbers(rows: Sequence[Row], split: str) -> Sequence[Row]:
    """Rows with the label as a number. Raises DataError for what is none."""
    found: list[float] = []
    strange: list[int] = []
    for place, label in enumerate(values_of(rows, "label")):
        try:
            value = float(label)
        except (TypeError, ValueError):
            value = math.nan
        if math.isfinite(value):
            found.append(value)
        else:
            strange.append(place)
    if strange:
        raise DataError(
            f"{split}: {places(strange)} a label that is not a finite number ({short(rows[strange[0]]['label'])}), as "
            "regression needs; name the task's `labels` to classify"
        )
    return having(rows, "label", found)
