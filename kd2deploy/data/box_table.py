"""Objects in pictures as a table: a row for each object, with its picture, class and box.

image,label,left,top,width,height
0001.jpg,dog,12,30,100,80
"""

from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

from kd2deploy.data._columns import columns_in, suggestion
from kd2deploy.data._labels import is_missing
from kd2deploy.data._objects import (
    Doubts,
    Flawed,
    Row,
    given_splits,
    object_of,
    pictures_below,
    stored,
    tables_of,
    unlabelled_rows,
)
from kd2deploy.data.files import read
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

Corners = Literal["left_top_width_height", "left_top_right_bottom"]
SIDES = {
    "left_top_width_height": ("left", "top", "width", "height"),
    "left_top_right_bottom": ("left", "top", "right", "bottom"),
}


def box_table(
    train: str,
    eval: str,
    *,
    validation: str | None = None,
    train_pictures: str | None = None,
    eval_pictures: str | None = None,
    validation_pictures: str | None = None,
    unlabelled: str | None = None,
    boxes: Corners = "left_top_width_height",
    flawed: Flawed = "error",
    **columns: str,
) -> Tables:
    """Rows `image` and `label` of one table per split (csv, tsv, JSON lines, parquet), whose paths are read from its
    folder or from that of its pictures. A row with a picture alone says that nothing is in it.

    Where the folder of pictures is named, those that the table does not name have no object. `columns` say which column
    is read as `image`, `label`, `left`, `top`, `width`, `height`, `right`, `bottom`; pixels of the upright picture.
    Raises DataError that names file and row.
    """
    if boxes not in SIDES:
        raise DataError(f"boxes is one of {', '.join(SIDES)}, got {boxes!r}")
    known = {"image", "label", *SIDES[boxes]}
    strange = sorted(columns.keys() - known)
    if strange:
        raise DataError(f"{strange[0]!r} is no column of a table of boxes; they are {', '.join(sorted(known))}")
    doubts = Doubts(flawed)
    given = given_splits(
        train=(train, train_pictures), eval=(eval, eval_pictures), validation=(validation, validation_pictures)
    )
    found = {
        split: rows_of(Path(file), None if folder is None else Path(folder), boxes, columns, doubts)
        for split, (file, folder) in given.items()
    }
    names = {split: file for split, (file, _) in given.items()}
    return tables_of(found, names, None, unlabelled_rows(unlabelled, doubts), doubts)


def rows_of(file: Path, folder: Path | None, boxes: Corners, columns: dict[str, str], doubts: Doubts) -> list[Row]:
    sides = SIDES[boxes]
    table = read(file, doubts.notes)
    there = sorted(columns_in(table))
    asked = {name: columns.get(name, name) for name in ("image", "label", *sides)}
    for name, column in asked.items():
        if column not in there:
            raise DataError(f"{file} has no column {column!r}; {suggestion(column, there)} Name it as `{name}: COLUMN`")
    of_picture: dict[Path, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    if folder is not None:
        of_picture.update({picture: [] for picture in pictures_below(folder, doubts)})
    for at, row in enumerate(table, 1):
        if is_missing(row[asked["image"]]):
            raise DataError(f"{file}, row {at}: no {asked['image']} is named; fill it in, or remove the row")
        picture = (folder or file.parent) / str(row[asked["image"]])
        of_picture[picture].append((at, {name: row[column] for name, column in asked.items()}))
    rows = []
    for picture, lines in of_picture.items():
        size = stored(picture, f"{file}, row {lines[0][0]}" if lines else str(picture)).upright
        label: list[dict[str, Any]] = []
        for at, row in lines:
            empty = [name for name in ("label", *sides) if is_missing(row[name])]
            if len(empty) == 1 + len(sides):
                continue
            where = f"{file}, row {at}"
            if empty:
                raise DataError(
                    f"{where}: no {asked[empty[0]]}; fill it in, or leave class and box empty for no object"
                )
            left, top, third, fourth = (number(row[side], asked[side], where) for side in sides)
            corners = boxes == "left_top_right_bottom"
            box = [left, top, third - left, fourth - top] if corners else [left, top, third, fourth]
            label += object_of(str(row["label"]).strip(), box, size, where, doubts)
        rows.append({"image": str(picture), "label": label})
    return rows


def number(value: Any, column: str, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{where}: {column} is {str(value)[:40]!r} and no number; correct it") from None
