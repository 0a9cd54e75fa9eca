"""Data sets of the hub, or any folder that the library `datasets` reads."""

from collections.abc import Sequence
from typing import Any

from kd2deploy.core.mapped import Mapped
from kd2deploy.data._columns import renamed, suggestion
from kd2deploy.data._mapped import LARGE_MB
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError


def hub(
    name: str,
    config: str | None = None,
    train: str = "train",
    eval: str = "validation",
    *,
    validation: str | None = None,
    unlabelled: str | None = None,
    **columns: str,
) -> Tables:
    """Splits of a data set by name; `columns` say which column a field is read from.

    Pictures and audio stay encoded until they are used.

    Raises DataError for a name, configuration, split or column that is not there, and without a network.
    """
    import datasets

    try:
        found: Any = datasets.load_dataset(name, config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"data set {name!r} cannot be loaded: {str(error).splitlines()[0]}; check the name and the network, or "
            "download it once and read it with `data: {use: files, ...}`"
        ) from error
    asked = {"train": train, "eval": eval, "validation": validation, "unlabelled": unlabelled}
    rows: dict[str, Sequence[dict[str, Any]]] = {}
    labels: tuple[str, ...] | None = None
    for split, title in asked.items():
        if title is None:
            continue
        if title not in found:
            raise DataError(f"data set {name!r} has no split {title!r}; {suggestion(title, found)}")
        wanted = {f: c for f, c in columns.items() if f != "label"} if split == "unlabelled" else columns
        rows[split] = renamed(plain(found[title]), wanted, f"{name}[{title}]")
        if split == "train":
            labels = class_names(found[title], columns.get("label", "label"))
    return Tables(
        train=rows["train"],
        eval=rows["eval"],
        validation=rows.get("validation"),
        unlabelled=rows.get("unlabelled"),
        labels=labels,
        about=f"{name}{f'/{config}' if config else ''}",
        names={split: f"{name}[{title}]" for split, title in asked.items() if title},
    )


def class_names(split: Any, column: str) -> tuple[str, ...] | None:
    kind = split.features.get(column)
    names = getattr(getattr(kind, "feature", kind), "names", None)  # a list of classes is named by its elements
    return None if names is None else tuple(names)


def plain(split: Any) -> Sequence[dict[str, Any]]:
    """Rows: pictures and audio as their encoded bytes or path, the class -1 (hidden labels) as None. Of a large set the
    library's own files stay mapped into memory, where there are no media in it."""
    import datasets

    media = {
        name: type(kind) for name, kind in split.features.items() if isinstance(kind, datasets.Image | datasets.Audio)
    }
    classes = [name for name, kind in split.features.items() if isinstance(kind, datasets.ClassLabel)]
    if not media and split.data.nbytes >= LARGE_MB * 1e6:
        mapped = Mapped(split.data.table.to_batches())
        for name in classes:
            mapped = mapped.having(name, [None if value == -1 else value for value in mapped.values(name)])
        return mapped
    for name, kind in media.items():
        split = split.cast_column(name, kind(decode=False))
    rows: list[dict[str, Any]] = split.to_list()
    for row in rows:
        for name in media:
            row[name] = row[name]["bytes"] or row[name]["path"]
        for name in classes:
            row[name] = None if row[name] == -1 else row[name]
    return rows
