"""Objects in pictures as Pascal VOC writes them: one XML file beside, or in a folder beside, each picture.

Files are read without a document type, so that none can name entities.
"""

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from kd2deploy.data._objects import (
    Doubts,
    Flawed,
    Row,
    given_splits,
    object_of,
    pictures_below,
    said_size,
    stored,
    tables_of,
    unlabelled_rows,
)
from kd2deploy.data._pictures import listed
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

LARGEST = 16 * 2**20
"""Bytes of one file; an ordinary one has a few thousand."""


def voc(
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
    """Rows `image` and `label` of one folder of XML files per split, and the folder of its pictures, by default the
    same one, with everything below. A picture's file is the one that bears its name; every picture has one.

    Boxes count pixels from 1 and include the last one, as VOC's own do: `xmin` 1 is the left border. `difficult`
    objects are kept as crowds are: not learnt, not counted. Raises DataError that names file and object.
    """
    doubts = Doubts(flawed)
    given = given_splits(
        train=(train, train_pictures), eval=(eval, eval_pictures), validation=(validation, validation_pictures)
    )
    found = {
        split: rows_of(Path(folder), Path(folder if beside is None else beside), doubts)
        for split, (folder, beside) in given.items()
    }
    names = {split: folder for split, (folder, _) in given.items()}
    return tables_of(found, names, None, unlabelled_rows(unlabelled, doubts), doubts)


def rows_of(folder: Path, beside: Path, doubts: Doubts) -> list[Row]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder (read from {Path.cwd()}); check the path under `data`")
    files = {file.stem: file for file in sorted(folder.rglob("*.xml"))}
    shown = {file.stem: file for file in pictures_below(beside, doubts)}
    for here, there, what in ((files, shown, "picture"), (shown, files, "XML file")):
        lacking = sorted(here.keys() - there.keys())
        if lacking:
            where = folder if here is files else beside
            has = "has" if len(lacking) == 1 else "have"
            raise DataError(
                f"{where}: {listed([here[name].name for name in lacking])} {has} no {what} of that name; add it, or "
                "remove what has none"
            )
    return [row_of(files[name], picture, doubts) for name, picture in shown.items()]


def row_of(file: Path, picture: Path, doubts: Doubts) -> Row:
    root, how = read(file), stored(picture, str(file))
    said = root.find("size")
    sizes = None if said is None else (number(said, "width", file), number(said, "height", file))
    upright = said_size(how, None if sizes in (None, (0, 0)) else (int(sizes[0]), int(sizes[1])), picture, str(file))
    label: list[dict[str, object]] = []
    for at, one in enumerate(root.findall("object"), 1):
        where, box = f"{file}, object {at}", one.find("bndbox")
        name = (one.findtext("name") or "").strip()
        if not name or box is None:
            raise DataError(f"{where} has no {'name' if not name else 'bndbox'}; add it, or remove the object")
        left, top, right, bottom = (number(box, side, file) for side in ("xmin", "ymin", "xmax", "ymax"))
        hard = (one.findtext("difficult") or "0").strip() == "1"
        pixels = [left - 1, top - 1, right - left + 1, bottom - top + 1]
        label += object_of(name, upright(pixels), how.upright, where, doubts, hard)
    return {"image": str(picture), "label": label}


def number(element: Element, name: str, file: Path) -> float:
    text = element.findtext(name)
    try:
        return float(text or "")
    except ValueError:
        raise DataError(f"{file}: {name} is {text!r} and no number; correct it") from None


def read(file: Path) -> Element:
    """The root of an XML file. Raises DataError for one that is none, is too large, or has a document type."""
    if file.stat().st_size > LARGEST:
        raise DataError(f"{file} is larger than {LARGEST // 2**20} MiB, which no file of one picture's objects is")
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise DataError(f"{file} has a document type, which may name entities; save it without")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, attributes: builder.start(name, attributes)
    parser.EndElementHandler = lambda name: builder.end(name)
    parser.CharacterDataHandler = lambda text: builder.data(text)
    try:
        parser.Parse(file.read_bytes(), True)
        root = builder.close()
    except (expat.ExpatError, ValueError) as error:
        raise DataError(f"{file} is not readable XML ({error}); save it anew") from None
    if root.tag != "annotation":
        raise DataError(f"{file} describes a {root.tag!r} and no annotation of a picture; remove it from the folder")
    return root
