"""Data sets of the hub, or any folder that the library `datasets` reads."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kd2deploy.core.mapped import Mapped
from kd2deploy.data._columns import renamed, suggestion
from kd2deploy.data._mapped import LARGE_MB
from kd2deploy.data._streamed import mapped, streamed
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

Rows = Sequence[dict[str, Any]]
TEACH = ("train", "unlabelled")
"""Splits of which a stream may be read in part."""


def hub(
    name: str,
    config: str | None = None,
    train: str = "train",
    eval: str = "validation",
    *,
    validation: str | None = None,
    unlabelled: str | None = None,
    stream: bool = False,
    most: int | None = None,
    **columns: str,
) -> Tables:
    """Splits of a data set by name; `columns` say which column a field is read from.

    Pictures and audio stay encoded until they are used. With `stream` the files are not downloaded: rows are read as
    they come, of the splits that teach `most` of them at most, drawn at random.

    Raises DataError for a name, configuration, split or column that is not there, and without a network.
    """
    import datasets

    if most is not None and (not stream or most < 1):
        raise DataError(
            "`most` says how many rows of a stream are read, 1 at least: write `stream: true` beside it, or use "
            "`limit_train`"
        )
    with loadable(name):
        opened: Any = datasets.load_dataset_builder(name, config) if stream else datasets.load_dataset(name, config)
        titles = opened.as_streaming_dataset() if stream else opened
    asked = {"train": train, "eval": eval, "validation": validation, "unlabelled": unlabelled}
    rows: dict[str, Rows] = {}
    labels: tuple[str, ...] | None = None
    for split, title in asked.items():
        if title is None:
            continue
        if title not in titles:
            raise DataError(f"data set {name!r} has no split {title!r}; {suggestion(title, titles)}")
        wanted = {f: c for f, c in columns.items() if f != "label"} if split == "unlabelled" else columns
        source, enough = f"{name}[{title}]", most if split in TEACH else None
        with loadable(name):
            found = streamed(titles[title], enough) if stream else titles[title]
            if stream and not media_in(found):
                read: Rows = without_hidden(mapped(found, opened.cache_dir, title, enough, source), found)
            else:
                read = plain(found)
        rows[split] = renamed(read, wanted, source)
        if split == "train":
            labels = class_names(found, columns.get("label", "label"))
    return Tables(
        train=rows["train"],
        eval=rows["eval"],
        validation=rows.get("validation"),
        unlabelled=rows.get("unlabelled"),
        labels=labels,
        about=f"{name}{f'/{config}' if config else ''}",
        names={split: f"{name}[{title}]" for split, title in asked.items() if title},
    )


@contextmanager
def loadable(name: str) -> Iterator[None]:
    """What the library says of a data set that it cannot load, as DataError with the remedy."""
    import datasets

    try:
        yield
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"data set {name!r} cannot be loaded: {str(error).splitlines()[0]}; check the name and the network, or "
            "download it once and read it with `data: {use: files, ...}`"
        ) from error


def plain(split: Any) -> Rows:
    """The rows of a split that was downloaded. Of a large one the library's own files stay mapped into memory, where
    there are no media in it."""
    if media_in(split) or split.data.nbytes < LARGE_MB * 1e6:
        return held(split)
    return without_hidden(Mapped(split.data.table.to_batches()), split)


def class_names(split: Any, column: str) -> tuple[str, ...] | None:
    kind = features_of(split).get(column)
    names = getattr(getattr(kind, "feature", kind), "names", None)  # a list of classes is named by its elements
    return None if names is None else tuple(names)


def features_of(split: Any) -> dict[str, Any]:
    """Columns by name; none where a stream has no rows."""
    return dict(split.features or {})


def media_in(split: Any) -> dict[str, type]:
    """The columns of pictures and audio."""
    import datasets

    media = (datasets.Image, datasets.Audio)
    return {name: type(kind) for name, kind in features_of(split).items() if isinstance(kind, media)}


def classes_in(split: Any) -> list[str]:
    import datasets

    return [name for name, kind in features_of(split).items() if isinstance(kind, datasets.ClassLabel)]


def without_hidden(rows: Mapped, split: Any) -> Mapped:
    """Rows that stay in their file, the class -1 (hidden labels) as None."""
    for name in classes_in(split):
        rows = rows.having(name, [None if value == -1 else value for value in rows.values(name)])
    return rows


def held(split: Any) -> Rows:
    """Rows in memory: pictures and audio as their encoded bytes or path, hidden labels as None."""
    import datasets

    media, classes = media_in(split), classes_in(split)
    for name, kind in media.items():
        split = split.cast_column(name, kind(decode=False))
    rows: list[dict[str, Any]] = split.to_list() if isinstance(split, datasets.Dataset) else list(split)
    for row in rows:
        for name in media:
            row[name] = row[name]["bytes"] or row[name]["path"]
        for name in classes:
            row[name] = None if row[name] == -1 else row[name]
    return rows
