"""Objects in pictures as COCO writes them: a JSON file with `images`, `annotations` and `categories` for each split."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from kd2deploy.core.reading import object_of as json_object
from kd2deploy.data._objects import (
    Doubts,
    Flawed,
    Row,
    given_splits,
    object_of,
    said_size,
    stored,
    tables_of,
    unlabelled_rows,
)
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

PARTS = ("images", "annotations", "categories")


def coco(
    train: str,
    eval: str,
    *,
    validation: str | None = None,
    train_pictures: str | None = None,
    eval_pictures: str | None = None,
    validation_pictures: str | None = None,
    unlabelled: str | None = None,
    flawed: Flawed = "error",
) -> Tables:
    """Rows `image` and `label` of one JSON file per split, and the folder that its `file_name` are read from, by
    default the file's own. `unlabelled` is a folder of pictures.

    `iscrowd` is kept: such regions are not learnt and not counted. Pictures without an annotation have no object. The
    classes are in the order of their ids. `flawed`: what becomes of boxes without an area or outside of their picture.
    Raises DataError that names file and annotation.
    """
    doubts = Doubts(flawed)
    given = given_splits(
        train=(train, train_pictures), eval=(eval, eval_pictures), validation=(validation, validation_pictures)
    )
    named: dict[str, list[str]] = {}
    found: dict[str, list[Row]] = {}
    for split, (file, folder) in given.items():
        place = Path(file)
        found[split], named[split] = rows_of(place, place.parent if folder is None else Path(folder), doubts)
    # a split may leave out classes that it does not show, and may not have others
    labels = named["train"]
    for split, names in named.items():
        others = [name for name in names if name not in labels]
        if others:
            raise DataError(
                f"{given[split][0]} has the category {others[0]!r}, which {train} has not; give both the same ones"
            )
    files = {split: file for split, (file, _) in given.items()}
    return tables_of(found, files, labels, unlabelled_rows(unlabelled, doubts), doubts)


def rows_of(file: Path, folder: Path, doubts: Doubts) -> tuple[list[Row], list[str]]:
    """The rows of one file, in the order of its images, and its classes in the order of their ids."""
    if not file.is_file():
        raise DataError(f"{file} is no file (read from {Path.cwd()}); check the path under `data`")
    said = json_object(file, DataError, "give a COCO file of instances")
    lacking = [part for part in PARTS if not isinstance(said.get(part), list)]
    if lacking:
        raise DataError(f"{file} has no list of {lacking[0]}, and is no COCO file of instances")
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; name the one that holds the pictures of {file.name}")
    named = [(entry(one, "id", file, "category"), entry(one, "name", file, "category")) for one in said["categories"]]
    categories = {place: str(name) for place, name in named}
    if len(set(categories.values())) < len(categories):
        raise DataError(f"{file} names two categories alike; give each its own name")
    images = {entry(one, "id", file, "image"): one for one in said["images"]}
    of_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for one in said["annotations"]:
        where = f"{file}, annotation {entry(one, 'id', file, 'annotation')}"
        if entry(one, "image_id", file, "annotation") not in images:
            raise DataError(f"{where}: there is no image {one['image_id']!r}; remove the annotation, or add the image")
        if entry(one, "category_id", file, "annotation") not in categories:
            raise DataError(f"{where}: there is no category {one['category_id']!r}; correct it, or add the category")
        of_image[one["image_id"]].append(one)
    rows = []
    for place, image in images.items():
        picture = folder / str(entry(image, "file_name", file, "image"))
        where = f"{file}, image {place}"
        size = (image["width"], image["height"]) if {"width", "height"} <= image.keys() else None
        how = stored(picture, where)
        upright = said_size(how, size, picture, where)
        label: list[dict[str, Any]] = []
        for one in of_image[place]:
            here, box = f"{file}, annotation {one['id']}", one.get("bbox")
            if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, int | float) for value in box):
                doubts.refuse(here, f"bbox is {str(box)[:60]} and not four numbers")
                continue
            name, crowd = categories[one["category_id"]], bool(one.get("iscrowd", 0))
            label += object_of(name, upright(box), how.upright, here, doubts, crowd)
        rows.append({"image": str(picture), "label": label})
    ordered = sorted(categories, key=lambda known: (not isinstance(known, int), known))
    return rows, [categories[one] for one in ordered]


def entry(one: Any, name: str, file: Path, what: str) -> Any:
    """A field that every entry of a list must have. Raises DataError."""
    value = one.get(name) if isinstance(one, dict) else None
    if value is None or isinstance(value, list | dict):
        raise DataError(f"{file} has an {what} without {name}: {str(one)[:80]}; add it, or remove the {what}")
    return value
