"""Columns under the task's field names: `text="sentence"` reads the column `sentence` as `text`."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from kd2deploy.errors import DataError


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'label'?`, or the names there are."""
    names = [str(one) for one in known]
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names) or 'none'}"


def renamed(rows: list[dict[str, Any]], columns: Mapping[str, str], source: str) -> list[dict[str, Any]]:
    """Rows with the named columns under their field's name; the others stay. Raises DataError for one not there."""
    if not rows:
        raise DataError(f"{source} has no rows")
    for field, column in columns.items():
        if column not in rows[0]:
            raise DataError(f"{source} has no column {column!r} to read `{field}` from; {suggestion(column, rows[0])}")
    if all(field == column for field, column in columns.items()):
        return rows
    return [
        {field: row[column] for field, column in columns.items()}
        | {name: value for name, value in row.items() if name not in columns and name not in columns.values()}
        for row in rows
    ]
