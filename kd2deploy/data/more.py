"""Rows to train on and nothing else: what a training names as its own `data`, labelled or not."""

from kd2deploy.data.files import named_rows
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError


def more(
    labelled: str | None = None,
    unlabelled: str | None = None,
    **columns: str,
) -> Tables:
    """Tables of one file or picture folder, or of two; read as `files` reads them. Nothing is held out or judged by.

    `more(unlabelled="crawled.csv", text="sentence")`. Raises DataError.
    """
    notes: list[str] = []
    if labelled is None and unlabelled is None:
        raise DataError("more has neither `labelled` nor `unlabelled` rows; name a file")
    train = named_rows(labelled, columns, notes) if labelled is not None else []
    wanted = {field: column for field, column in columns.items() if field != "label"}
    free = named_rows(unlabelled, wanted, notes) if unlabelled is not None else None
    given = {split: path for split, path in (("train", labelled), ("unlabelled", unlabelled)) if path is not None}
    about = ", ".join(f"{split}: {path}" for split, path in given.items())
    return Tables(train, [], None, free, about=about, names=given, warnings=tuple(dict.fromkeys(notes)))
