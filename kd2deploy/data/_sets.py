"""Labels that do not exclude each other: each row's set, however it is written, as one 0 or 1 for each label.

A set is a list of names; a list of places among the labels that the source names; one 0 or 1 for each label; a text
whose names a separator parts; or columns of 0 and 1, one for each label.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kd2deploy.core.trust import short
from kd2deploy.data._columns import columns_in, suggestion
from kd2deploy.data._labels import SHOWN, Row, label_name, places, whole_number
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

LISTS = (list, tuple, set, np.ndarray)
YES, NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


def gathered(rows: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any], split: str) -> list[Row]:
    """Rows whose `label` is a list, put together from `label_columns` or cut at `separator` where the task has one."""
    if arguments.get("label_columns"):
        return from_columns(rows, [str(name) for name in arguments["label_columns"]], split)
    separator = arguments.get("separator")
    return [dict(row) for row in rows] if not separator else [parted(row, separator) for row in rows]


def from_columns(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], split: str) -> list[Row]:
    known = columns_in(rows)
    for column in columns:
        if column not in known:
            raise DataError(f"{split} has no column {column!r} (`label_columns`); {suggestion(column, known)}")
    found = []
    for place, row in enumerate(rows):
        marks = {column: label_name(row.get(column)).lower() for column in columns}
        odd = next((column for column, mark in marks.items() if mark not in YES | NO), None)
        if odd is not None:
            raise DataError(
                f"{split}: row {place + 1} has {short(row.get(odd))} under {short(odd)}, which is neither 0 nor 1"
            )
        rest = {name: value for name, value in row.items() if name not in columns}
        found.append({**rest, "label": [column for column, mark in marks.items() if mark in YES]})
    return found


def parted(row: Mapping[str, Any], separator: str) -> Row:
    """An empty field is an empty set: a file of texts has no other way to say it."""
    given = row.get("label")
    text = "" if given is None else label_name(given)
    return {**row, "label": [name for part in text.split(separator) if (name := part.strip())]}


def with_sets(
    kept: Mapping[str, Sequence[Row]], labels: Sequence[str] | None, tables: Tables, warnings: list[str]
) -> tuple[tuple[str, ...], dict[str, Sequence[Row]]]:
    """The labels' names, and every split's rows with one 0 or 1 for each of them. Raises DataError.

    The names are those given, the source's, or those of the training rows, sorted.
    """
    for split, rows in kept.items():
        refuse_others(rows, tables.name(split))
    given = tuple(labels or tables.labels or ())
    several_hot = all(is_hot(row["label"], len(given) or None) for rows in kept.values() for row in rows)
    if several_hot and not given:
        width = len(next(iter(kept["train"]))["label"])
        raise DataError(
            f"{tables.name('train')}: labels are {width} zeros and ones a row, and nothing names them; write "
            f"`labels: [{width} names]` under `task`"
        )
    names = given or names_of(kept["train"])
    if len(names) < 2:
        raise DataError(
            f"{tables.name('train')}: {'one label' if names else 'no label'} in all rows; a set is of two labels or "
            "more"
        )
    found: dict[str, Sequence[Row]] = {
        split: [{**row, "label": [int(one) for one in row["label"]]} for row in rows]
        if several_hot
        else placed(rows, names, tables.labels or (), tables.name(split))
        for split, rows in kept.items()
    }
    check_labels(found, names, tables, warnings)
    return names, found


def refuse_others(rows: Sequence[Row], split: str) -> None:
    """Raises DataError for labels that are no lists."""
    strange = [place for place, row in enumerate(rows) if not isinstance(row["label"], LISTS)]
    if strange:
        raise DataError(
            f"{split}: {places(strange)} a label that is no list of labels ({rows[strange[0]]['label']!r:.60}); give "
            'lists, or say under `task` how they are written: `separator: ","` for names in one text, '
            "`label_columns: [...]` for columns of 0 and 1"
        )


def is_hot(label: Any, width: int | None) -> bool:
    """Whether a label is one 0 or 1 for each of `width` labels; of as many as there are (two at least) for None."""
    return (
        len(label) >= 2
        and width in (None, len(label))
        and all(not isinstance(one, str) and one in (0, 1) for one in label)
    )


def names_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """The labels that occur, sorted; whole numbers by size."""
    found = {label_name(one) for row in rows for one in row["label"]}
    numbers = {name: whole_number(name) for name in found}
    if None in numbers.values():
        return tuple(sorted(found))
    return tuple(sorted(found, key=lambda name: (numbers[name] or 0, name)))


def placed(rows: Sequence[Row], names: Sequence[str], own: Sequence[str], split: str) -> list[Row]:
    """Rows with one 0 or 1 for each name. Where the source names its labels (`own`), numbers are places already."""
    known = {name: place for place, name in enumerate(names)}
    found, strange = [], []
    for place, row in enumerate(rows):
        hot = [0] * len(names)
        for one in row["label"]:
            by_place = own and isinstance(one, int | np.integer) and not isinstance(one, bool) and 0 <= one < len(own)
            at = known.get(own[int(one)] if by_place else label_name(one))
            if at is None:
                strange.append((place, label_name(one)))
            else:
                hot[at] = 1
        found.append({**row, "label": hot})
    if strange:
        odd = sorted({name for _, name in strange})
        raise DataError(
            f"{split}: {places(sorted({place for place, _ in strange}))} a label that is not among the labels "
            f"({', '.join(map(short, odd[:SHOWN]))}); {suggestion(odd[0], names)} They come from the training rows, or "
            "from `labels` of the task"
        )
    return found


def check_labels(found: Mapping[str, Sequence[Row]], names: Sequence[str], tables: Tables, warnings: list[str]) -> None:
    """Raises DataError for a label that is judged and was never trained; warns of those that say nothing."""
    counts = {split: np.array([row["label"] for row in rows]).sum(0) for split, rows in found.items()}
    for split, times in counts.items():
        unseen = [name for place, name in enumerate(names) if times[place] and not counts["train"][place]]
        if unseen:
            raise DataError(
                f"{tables.name(split)}: the label {short(unseen[0])} has no training row, and can only be answered "
                "wrongly; add rows to the training split or leave the label out"
            )
    rows = len(found["train"])
    for place, name in enumerate(names):
        if counts["train"][place] in (0, rows):
            warnings.append(f"{'every' if counts['train'][place] else 'no'} training row has the label {short(name)}")


def rarest(rows: Sequence[Row]) -> list[int | None]:
    """For each row the place of its rarest label, None for an empty set: what rows are drawn in proportion by, so that
    rare labels are spread over the splits too."""
    counts = Counter(place for row in rows for place, one in enumerate(row["label"]) if one)
    sets = [[place for place, one in enumerate(row["label"]) if one] for row in rows]
    return [min(own, key=lambda place: (counts[place], place)) if own else None for own in sets]
