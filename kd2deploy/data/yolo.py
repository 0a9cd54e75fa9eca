"""Objects in pictures as YOLO writes them: beside each picture a text file, `class centre_x centre_y width height` in a
line, all four as shares of the upright picture's sides."""

from collections.abc import Sequence
from pathlib import Path

from kd2deploy.data._objects import Doubts, Flawed, Row, object_of, pictures_below, stored, tables_of, unlabelled_rows
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

PICTURES, LABELS = "images", "labels"
"""Where the pictures lie in one tree and the files in another, the folders' names."""


def yolo(
    train: str,
    eval: str,
    names: Sequence[str],
    *,
    validation: str | None = None,
    unlabelled: str | None = None,
    flawed: Flawed = "error",
) -> Tables:
    """Rows `image` and `label` of one folder of pictures per split. A picture's file bears its name and lies beside it,
    or under `labels` where the picture lies under `images`; a picture without one has no object.

    `names` are the classes in the order of their numbers. Raises DataError that names file and line.
    """
    if isinstance(names, str) or not names or not all(isinstance(name, str) for name in names):
        raise DataError("names is the list of the classes in the order of their numbers, such as [dog, cat]")
    doubts = Doubts(flawed)
    given = {"train": train, "eval": eval, "validation": validation}
    folders = {split: folder for split, folder in given.items() if folder is not None}
    found = {split: rows_of(Path(folder), names, doubts) for split, folder in folders.items()}
    return tables_of(found, folders, names, unlabelled_rows(unlabelled, doubts), doubts)


def rows_of(folder: Path, names: Sequence[str], doubts: Doubts) -> list[Row]:
    rows, with_file = [], 0
    for picture in pictures_below(folder, doubts):
        file = file_of(picture)
        with_file += file is not None
        rows.append({"image": str(picture), "label": objects_in(file, picture, names, doubts) if file else []})
    if not with_file:
        raise DataError(
            f"{folder}: no picture has a text file of its name beside it, nor under {LABELS!r} in place of "
            f"{PICTURES!r}; check the folder"
        )
    return rows


def file_of(picture: Path) -> Path | None:
    parts = picture.parts
    places = [picture.with_suffix(".txt")]
    if PICTURES in parts[:-1]:
        last = len(parts) - 1 - parts[::-1].index(PICTURES)
        places.append(Path(*parts[:last], LABELS, *parts[last + 1 :]).with_suffix(".txt"))
    return next((place for place in places if place.is_file()), None)


def objects_in(file: Path, picture: Path, names: Sequence[str], doubts: Doubts) -> list[dict[str, object]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{file} is no text; give `class centre_x centre_y width height` in each line") from None
    (width, height), found = stored(picture, str(file)).upright, list[dict[str, object]]()
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where, numbers = f"{file}, line {at}", line.split()
        try:
            kind, x, y, w, h = int(numbers[0]), *map(float, numbers[1:])
        except ValueError:
            raise DataError(
                f"{where}: {line.strip()[:60]!r} is not `class centre_x centre_y width height`; boxes alone are read"
            ) from None
        if not 0 <= kind < len(names):
            raise DataError(
                f"{where}: class {kind} is none of the {len(names)} in `names`; add it there, or correct it"
            )
        box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
        found += object_of(names[kind], box, (width, height), where, doubts)
    return found
