"""From what a source returned to splits that can be trained on and judged by, with every doubt raised before training.

Rows come out with the task's fields, `label` as a class index (one 0 or 1 for each label where a row may have several;
a number for regression; None for unlabelled rows) and `index`, their place in their split.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kd2deploy.core import Task
from kd2deploy.core.figures import count_of
from kd2deploy.core.mapped import Mapped, having, joined, rows_at, values_of
from kd2deploy.data._columns import columns_in, suggestion
from kd2deploy.data._labels import (
    check_classes,
    class_names,
    is_missing,
    places,
    refuse_several,
    with_indices,
    with_numbers,
)
from kd2deploy.data._sets import gathered, rarest, with_sets
from kd2deploy.data.splits import Row, Splits
from kd2deploy.data.tables import Rows, Tables
from kd2deploy.errors import DataError

as_json = json.JSONEncoder(default=str, sort_keys=True).encode


def prepare(
    tables: Tables,
    task: type[Task],
    arguments: Mapping[str, Any],
    *,
    validation_share: float = 0.1,
    limit_train: int | None = None,
    limit_eval: int | None = None,
    limit_labels: int | None = None,
    missing: Literal["error", "drop"] = "error",
    keep: Sequence[str] = (),
    seed: int = 0,
) -> Splits:
    """Checked, split and limited rows, for a task and the arguments that it will be made with.

    Of these `labels` are the classes in the networks' order; None takes the source's or, sorted, those of the training
    rows; empty means regression. `validation_share` of the training rows is held out, class by class, where the source
    has no validation rows. `limit_train` and `limit_eval` draw so many rows in proportion; `limit_labels` then keeps so
    many labels, of which the validation rows are held out, and the other training rows stay without. `missing: drop`
    leaves out rows that lack their input or label instead of refusing them. `keep` names columns that rows keep beside
    what the task reads, and must all have. Raises DataError that names split, rows and
    remedy.
    """
    warnings = list(tables.warnings)
    inputs, labels = task.reads.fields(arguments), arguments.get("labels")
    named = task.reads.named
    labelled = {
        split: with_paths(rows, named)
        for split in ("train", "validation", "eval")
        if (rows := getattr(tables, split)) is not None
    }
    several = task.several_labels
    if several:
        labelled = {split: gathered(rows, arguments, tables.name(split)) for split, rows in labelled.items()}
    kept: dict[str, Sequence[Row]] = {}
    for split, rows in labelled.items():
        kept[split] = complete(rows, [*inputs, "label", *keep] if inputs else [], tables.name(split), missing, warnings)
        check_values(kept[split], inputs, task, tables.name(split))
    free = complete(
        with_paths(tables.unlabelled or [], task.reads.named),
        [*inputs, *keep] if inputs else [],
        tables.name("unlabelled"),
        missing,
        warnings,
        empty=True,
    )
    check_values(free, inputs, task, tables.name("unlabelled"))

    names: tuple[str, ...] = ()
    if several:
        names, kept = with_sets(kept, labels or arguments.get("label_columns"), tables, warnings)
    elif task.own_target:
        for split, rows in kept.items():
            check_targets(rows, task, tables.name(split))
        if task.own_classes:
            names = own_classes(kept, labels, task, tables, warnings)
    elif inputs and labels is not None and not labels:
        for split, rows in kept.items():
            kept[split] = with_numbers(rows, tables.name(split))
    elif inputs:
        for split, rows in kept.items():
            refuse_several(rows, tables.name(split))
        names = tuple(labels or tables.labels or class_names(kept["train"]))
        for split, rows in kept.items():
            kept[split] = with_indices(rows, names, tables, tables.name(split))
        check_classes(kept, names, tables, warnings)

    generator = np.random.default_rng(seed)
    train, judged = kept["train"], drawn(kept["eval"], limit_eval, generator, several)
    if len(judged) < 2:
        raise DataError(f"{tables.name('eval')} has one row, and an interval takes at least two; add rows to judge by")
    train = drawn(train, limit_train, generator, several)
    if limit_labels is not None:
        train, others = few_labelled(train, limit_labels, generator, len(names), several)
        free = joined(others, free)
    held = kept.get("validation")
    if held is None:
        train, held = held_out(train, validation_share, generator, tables.name("train"), several)
    train = joined(train, having(free, "label", [None] * len(free)))

    fields = [*inputs, "label", *keep] if inputs else None
    train, held, judged = (indexed(rows, fields) for rows in (train, held, judged))
    overlap, whole = read_through((train, held, judged), inputs)
    if overlap:
        warnings.append(
            f"{overlap} of {len(judged)} evaluation rows also stand in the training data; the scores flatter by up to "
            f"{100 * overlap / len(judged):.2g} points"
        )
    return Splits(train, held, judged, names, tuple(warnings), overlap, whole)


def with_training_rows(
    splits: Splits, tables: Tables, task: type[Task], arguments: Mapping[str, Any], missing: Literal["error", "drop"]
) -> Splits:
    """The splits with the training rows of another data set, which is read for these alone; labels are the splits' own.

    Raises DataError as `prepare` does, and where the other set has no rows to train on.
    """
    warnings = list(tables.warnings)
    inputs, several = task.reads.fields(arguments), task.several_labels
    train, fields = tables.train, [*inputs, "label"] if inputs else []
    if several and train:
        train = gathered(train, arguments, tables.name("train"))
    kept = complete(train, fields, tables.name("train"), missing, warnings, empty=True)
    free = complete(tables.unlabelled or [], inputs, tables.name("unlabelled"), missing, warnings, empty=True)
    if not kept and not free:
        raise DataError(f"{tables.about or 'the data of a training'} has no rows to train on; check the file")
    for rows, name in ((kept, "train"), (free, "unlabelled")):
        check_values(rows, inputs, task, tables.name(name))
    if kept and several:
        kept = with_sets({"train": kept}, splits.labels, tables, warnings)[1]["train"]
    elif kept and task.own_target:
        check_targets(kept, task, tables.name("train"))
        if task.own_classes:
            own_classes({"train": kept}, splits.labels, task, tables, warnings)
    elif kept and inputs and splits.labels:
        refuse_several(kept, tables.name("train"))
        kept = with_indices(kept, splits.labels, tables, tables.name("train"))
    elif kept and inputs:
        kept = with_numbers(kept, tables.name("train"))
    found = indexed(joined(kept, having(free, "label", [None] * len(free))), fields or None)
    overlap, _ = read_through((found, [], splits.eval), inputs)
    _, whole = read_through((found, splits.validation, splits.eval), inputs)
    if overlap:
        warnings.append(f"{overlap} of {len(splits.eval)} evaluation rows also stand in {tables.about or 'those rows'}")
    return replace(
        splits,
        train=found,
        warnings=tuple(warnings),
        overlap=max(overlap, splits.overlap),
        sha256=whole,
    )


def with_made_rows(splits: Splits, rows: Sequence[Row], details: Mapping[str, str]) -> Splits:
    """The splits with training rows that were made of their own, as sound as those; `details` are of these alone."""
    found = indexed(rows, None)
    _, whole = read_through((found, splits.validation, splits.eval), ())
    return replace(splits, train=found, details=details, sha256=whole)


# rows -----------------------------------------------------------------------------------------------------------


def complete(
    rows: Rows, fields: Sequence[str], name: str, missing: str, warnings: list[str], *, empty: bool = False
) -> Sequence[Row]:
    """The rows that have all `fields`. Raises DataError for none, and for lacking ones unless they are dropped."""
    found: Sequence[Row] = rows if isinstance(rows, Mapped) else [dict(row) for row in rows]
    if not found:
        if empty:
            return []
        raise DataError(f"{name} has no rows; check the file, or its filter")
    check_columns(found, fields, name, "Name it under `data`: `{field}: COLUMN`")
    for field in fields:
        lacking = [place for place, value in enumerate(values_of(found, field)) if is_missing(value)]
        if not lacking:
            continue
        if missing == "error":
            also = "; rows without a label belong into `unlabelled`" if field == "label" else ""
            them = "it" if len(lacking) == 1 else "them"
            raise DataError(f"{name}: {places(lacking)} no {field}; fill {them} in or set `missing: drop`{also}")
        was = "was" if len(lacking) == 1 else "were"
        warnings.append(f"{name}: {count_of(len(lacking), 'row')} without {field} {was} left out")
        gone = set(lacking)
        found = rows_at(found, [place for place in range(len(found)) if place not in gone])
        if not found:
            raise DataError(f"{name}: no row has a {field}")
    return found


def check_columns(rows: Rows, fields: Sequence[str], name: str, remedy: str) -> None:
    """Raises DataError for the first of `fields` that no row has; `remedy` may name it as `{field}`."""
    columns = sorted(columns_in(rows))
    for field in fields:
        if field not in columns:
            near = suggestion(field, columns)
            end = "" if near.endswith("?") else "."
            raise DataError(f"{name} has no column {field!r}; {near}{end} {remedy.replace('{field}', field)}")


def with_paths(rows: Rows, named: Sequence[str]) -> Rows:
    """The rows with paths where the values of some fields name files: what is hashed and packed is what they hold."""
    if not named:
        return rows
    return [{**row, **{field: Path(row[field]) for field in named if isinstance(row.get(field), str)}} for row in rows]


def check_values(rows: Sequence[Row], fields: Sequence[str], task: type[Task], name: str) -> None:
    """Raises DataError for rows that the task could not read once it came to them."""
    for field in fields:
        values = values_of(rows, field)
        flaws = {place: flaw for place, value in enumerate(values) if (flaw := task.reads.flaw(value))}
        if flaws:
            first = next(iter(flaws.values()))
            raise DataError(f"{name}: {places(list(flaws))} {field} that cannot be read: {first}; mend or remove it")


def check_targets(rows: Sequence[Row], task: type[Task], name: str) -> None:
    """Raises DataError for labels of a task's own kind that it alone can tell to be none."""
    flaws = {place: flaw for place, row in enumerate(rows) if (flaw := task.reads.target_flaw(row.get("label")))}
    if flaws:
        first = next(iter(flaws.values()))
        raise DataError(f"{name}: {places(list(flaws))} a label that cannot be learnt: {first}; mend or remove it")


def own_classes(
    kept: Mapping[str, Sequence[Row]],
    labels: Sequence[str] | None,
    task: type[Task],
    tables: Tables,
    warnings: list[str],
) -> tuple[str, ...]:
    """The classes of a task whose own targets name them: `labels`, or the source's, or those of the training rows.

    Raises DataError for a row that names another. One that no training row names is told.
    """
    seen = {split: [set(task.reads.classes_in(row.get("label"))) for row in rows] for split, rows in kept.items()}
    trained = set().union(*seen["train"])
    names = tuple(labels or tables.labels or sorted(trained))
    if not names:
        raise DataError(f"{tables.name('train')}: no row names a class, so there is nothing to learn; check the labels")
    for split, found in seen.items():
        unknown = {place: named - set(names) for place, named in enumerate(found) if named - set(names)}
        if unknown:
            first = min(next(iter(unknown.values())))
            raise DataError(
                f"{tables.name(split)}: {places(list(unknown))} a class that is not one of {', '.join(names)}: "
                f"{first!r}; correct it, or name all classes as `labels` under `task`"
            )
    lacking = [name for name in names if name not in trained]
    if lacking:
        warnings.append(f"{tables.name('train')}: no row shows {', '.join(lacking)}, which is therefore not learnt")
    return names


def indexed(rows: Sequence[Row], fields: Sequence[str] | None) -> Sequence[Row]:
    """Rows with their place as `index`, and nothing but the fields that the task reads."""
    if isinstance(rows, Mapped):
        return (rows if fields is None else rows.only(fields)).numbered_anew()
    return [
        {**(row if fields is None else {field: row[field] for field in fields}), "index": place}
        for place, row in enumerate(rows)
    ]


# drawing --------------------------------------------------------------------------------------------------------


def by_class(rows: Sequence[Row], several: bool = False) -> dict[Any, list[int]]:
    """Places of the rows of each class, or of each rarest label of a set; all in one where labels are neither."""
    found: dict[Any, list[int]] = {}
    for place, label in enumerate(rarest(rows) if several else values_of(rows, "label")):
        found.setdefault(label if isinstance(label, int) else None, []).append(place)
    return {label: found[label] for label in sorted(found, key=lambda label: (label is None, label or 0))}


def quotas(sizes: Sequence[int], wanted: int) -> list[int]:
    """How many to draw of each class: in proportion, `wanted` in all, each class once as far as that goes.

    What rounding leaves over goes to the largest remainders; ties to the first.
    """
    wanted = min(wanted, sum(sizes))
    least = 1 if wanted >= len(sizes) else 0
    exact = [size * wanted / sum(sizes) for size in sizes]
    found = [min(size, max(least, math.floor(share))) for size, share in zip(sizes, exact, strict=True)]
    while sum(found) != wanted:
        step = 1 if sum(found) < wanted else -1
        able = [c for c in range(len(sizes)) if (found[c] < sizes[c] if step > 0 else found[c] > least)]
        best = max(able, key=lambda c: step * (exact[c] - found[c]))
        found[best] += step
    return found


def chosen(rows: Sequence[Row], wanted: int, generator: np.random.Generator, several: bool = False) -> set[int]:
    """Places of `wanted` rows, every class in proportion."""
    classes = list(by_class(rows, several).values())
    found: set[int] = set()
    for members, quota in zip(classes, quotas([len(members) for members in classes], wanted), strict=True):
        found.update(members[place] for place in generator.permutation(len(members))[:quota])
    return found


def drawn(
    rows: Sequence[Row], limit: int | None, generator: np.random.Generator, several: bool = False
) -> Sequence[Row]:
    """At most `limit` rows, every class in proportion, in their order."""
    if limit is None or limit >= len(rows):
        return rows
    return rows_at(rows, sorted(chosen(rows, limit, generator, several)))


def held_out(
    rows: Sequence[Row], share: float, generator: np.random.Generator, name: str, several: bool = False
) -> tuple[Sequence[Row], Sequence[Row]]:
    """Training and validation rows: `share` of each class is held out, and at least one row stays to train on."""
    if not 0 < share < 1:
        raise DataError(f"validation_share must lie between 0 and 1, got {share}")
    held: set[int] = set()
    for members in by_class(rows, several).values():
        quota = min(len(members) - 1, round(share * len(members)))
        held.update(members[place] for place in generator.permutation(len(members))[:quota])
    if not held:
        # every class is so small that its share rounds to none: one row of the largest
        largest = max(by_class(rows, several).values(), key=len)
        if len(largest) < 2:
            raise DataError(f"{name} has too few rows to hold any out; add rows, or name a validation file")
        held = {largest[int(generator.integers(len(largest)))]}
    validated, learnt = parted(rows, held)
    return learnt, validated


def few_labelled(
    rows: Sequence[Row], labels: int, generator: np.random.Generator, classes: int, several: bool = False
) -> tuple[Sequence[Row], Sequence[Row]]:
    """`labels` rows that keep theirs, every class in proportion and at least once; and the others."""
    if labels < classes:
        raise DataError(f"limit_labels {labels} is less than one label for each of {classes} classes; raise it")
    return parted(rows, chosen(rows, labels, generator, several))


def parted(rows: Sequence[Row], places: set[int]) -> tuple[Sequence[Row], Sequence[Row]]:
    """The rows at some places, and the others, both in their order."""
    return rows_at(rows, sorted(places)), rows_at(rows, [place for place in range(len(rows)) if place not in places])


# what was read --------------------------------------------------------------------------------------------------


def read_through(splits: Sequence[Sequence[Row]], fields: Sequence[str]) -> tuple[int, str]:
    """Of training, validation and evaluation rows: how many of the last have, to the byte, an input that stands in the
    others; and the hash of all rows in their order. Every row is read once, and what is kept of it are a few bytes."""
    *learnt, judged = splits
    of_judged = list(digests(judged, fields))
    waiting = {of_input for of_input, _ in of_judged} if fields else set()
    seen: set[bytes] = set()
    whole = hashlib.sha256()
    for rows in learnt:
        whole.update(len(rows).to_bytes(8, "big"))
        for of_input, others in digests(rows, fields):
            whole.update(of_input + others)
            if of_input in waiting:
                seen.add(of_input)
    whole.update(len(judged).to_bytes(8, "big"))
    for of_input, others in of_judged:
        whole.update(of_input + others)
    return sum(of_input in seen for of_input, _ in of_judged), whole.hexdigest()


def digests(rows: Sequence[Row], fields: Sequence[str]) -> Iterator[tuple[bytes, bytes]]:
    """Of each row the hash of its input, and that of all else that it holds."""
    for row in rows:
        yield content_hash(row, fields), content_hash(row, sorted(row.keys() - {"index", *fields}))


def content_hash(row: Row, fields: Iterable[str]) -> bytes:
    whole = hashlib.sha256()
    for part in content(row, fields):
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.digest()


def content(row: Row, fields: Iterable[str]) -> Iterator[bytes]:
    """The values of some fields as bytes: arrays with their shape, files by what is in them."""
    for field in fields:
        value = row.get(field)
        if isinstance(value, np.ndarray):
            yield json.dumps([value.dtype.str, value.shape]).encode()
            yield value.tobytes()
        elif isinstance(value, bytes):
            yield value
        elif isinstance(value, Path):
            try:
                yield value.read_bytes()
            except OSError as error:
                raise DataError(f"{value} cannot be read: {error}") from error
        elif hasattr(value, "__array_interface__"):
            yield np.asarray(value).tobytes()
        else:
            yield as_json(value).encode()
