"""Columns under the task's field names: `text="sentence"` reads the column `sentence` as `text`."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kd2deploy.core.mapped import Mapped
from kd2deploy.core.trust import short
from kd2deploy.errors import DataError

SHOWN, LONGEST = 20, 60
"""Names in a message, and characters of one: a file may have thousands of columns, or a text where its header should
be."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'label'?`, or the names there are."""
    names = [str(one) for one in known]
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {short(close[0])}?"
    shown = ", ".join(name if len(name) <= LONGEST else short(name) for name in names[:SHOWN])
    return f"there are {shown or 'none'}{f' ... ({len(names)} in all)' if len(names) > SHOWN else ''}"


def columns_in(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of all rows' columns, in the order in which they first occur."""
    if isinstance(rows, Mapped):
        return rows.names
    return list(dict.fromkeys(name for row in rows for name in row))


def renamed(rows: Sequence[dict[str, Any]], columns: Mapping[str, str], source: str) -> Sequence[dict[str, Any]]:
    """Rows with the named columns under their field's name; the others stay, and what a row lacks is None.

    Raises DataError for a column that no row has.
    """
    if not rows:
        raise DataError(f"{source} has no rows")
    known = columns_in(rows)
    for field, column in columns.items():
        if column not in known:
            raise DataError(
                f"{source} has no column {short(column)} to read `{field}` from; {suggestion(column, known)}"
            )
    if all(field == column for field, column in columns.items()):
        return rows
    if isinstance(rows, Mapped):
        return rows.renamed(columns)
    others = [name for name in known if name not in columns and name not in columns.values()]
    return [
        {field: row.get(column) for field, column in columns.items()}
        | {name: row[name] for name in others if name in row}
        for row in rows
    ]
