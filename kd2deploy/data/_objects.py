"""Pictures with objects, as several formats say them: checked against their pictures, told by file and line.

A row is `image` and `label`, a list of `{category, box, crowd}`; boxes are left, top, width and height in pixels of the
upright picture.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kd2deploy.core.figures import count_of
from kd2deploy.data._pictures import endings, kinds_of, pictures
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

NO_PILLOW = "pictures are read with Pillow; pip install 'kd2deploy[detection]'"
ORIENTATION = 0x0112
"""EXIF's tag of how a picture is shown."""
OVERHANG = 1.0
"""Pixels that a box may reach beyond its picture; it is then cut. Conventions of counting pixels differ by one."""
Flawed = Literal["error", "drop"]
Row = dict[str, Any]
Box = Sequence[float]


@dataclass
class Doubts:
    """What is done with objects whose boxes are wrong, and what was left out so far."""

    flawed: Flawed
    dropped: int = 0
    notes: list[str] = field(default_factory=list)

    def refuse(self, where: str, what: str) -> None:
        """Raises DataError, unless such objects are left out."""
        if self.flawed == "error":
            raise DataError(f"{where}: {what}; correct it, or leave such objects out with `flawed: drop`")
        self.dropped += 1

    def told(self) -> tuple[str, ...]:
        left = [f"{count_of(self.dropped, 'object')} with a box that is none left out"] if self.dropped else []
        return (*dict.fromkeys(self.notes), *left)


@dataclass(frozen=True)
class Stored:
    """How large a picture is, and how it is turned for a person."""

    width: int
    height: int
    turn: int = 1
    """EXIF's orientation."""

    @property
    def on_its_side(self) -> bool:
        return self.turn in range(5, 9)

    @property
    def upright(self) -> tuple[int, int]:
        return (self.height, self.width) if self.on_its_side else (self.width, self.height)

    def turned(self, box: Box) -> list[float]:
        """A box of the picture as it is stored, in the upright one, of one stored on its side."""
        left, top, width, height = box
        right, bottom = self.width - left - width, self.height - top - height
        place = {5: (top, left), 6: (bottom, left), 7: (bottom, right), 8: (top, right)}[self.turn]
        return [*place, height, width]


def stored(file: Path, where: str) -> Stored:
    """Off the file's header. Raises DataError where it cannot be read."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(NO_PILLOW) from error
    if not file.is_file():
        raise DataError(f"{where}: the picture {file} is not there; check the pictures' folder, or remove the entry")
    try:
        with Image.open(file) as picture:
            return Stored(*picture.size, int(picture.getexif().get(ORIENTATION, 1)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: {file} is not a picture that can be read ({error}); mend or remove it") from error


def said_size(picture: Stored, said: tuple[int, int] | None, file: Path, where: str) -> Callable[[Box], list[float]]:
    """What brings a box into the upright picture, where its source says the size (width, height) that it was drawn in.

    Raises DataError where that is neither the upright picture's nor the stored one's.
    """
    if said is None or said == picture.upright:
        return lambda box: list(box)
    if picture.on_its_side and said == (picture.width, picture.height):
        return picture.turned
    raise DataError(
        f"{where}: {file.name} is said to be {said[0]} x {said[1]} pixels and has {picture.upright[0]} x "
        f"{picture.upright[1]}, so its boxes are of another picture; give the pictures that were labelled"
    )


def object_of(
    category: str, box: Box, size: tuple[int, int], where: str, doubts: Doubts, crowd: bool = False
) -> Iterator[dict[str, Any]]:
    """The object, its box cut where it reaches out by a pixel; none where it is flawed and such are dropped."""
    left, top, width, height = map(float, box)
    said = f"the box [{left:g}, {top:g}, {width:g}, {height:g}] (left, top, width, height)"
    if not all(abs(value) < 1e9 for value in (left, top, width, height)):  # also where one is not a number
        doubts.refuse(where, f"{said} is not made of numbers")
    elif min(width, height) <= 0:
        doubts.refuse(where, f"{said} has no area")
    elif min(left, top) < -OVERHANG or left + width > size[0] + OVERHANG or top + height > size[1] + OVERHANG:
        doubts.refuse(where, f"{said} lies outside of its picture of {size[0]} x {size[1]} pixels")
    else:
        right, bottom = min(left + width, size[0]), min(top + height, size[1])
        left, top = max(left, 0.0), max(top, 0.0)
        if right <= left or bottom <= top:
            doubts.refuse(where, f"{said} has no area inside of its picture")
            return
        found = {"category": category, "box": [left, top, right - left, bottom - top]}
        yield {**found, "crowd": True} if crowd else found


def pictures_below(folder: Path, doubts: Doubts) -> list[Path]:
    """Sorted. Raises DataError for a folder that is none or holds none."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder (read from {Path.cwd()}); check the path under `data`")
    known, others = endings(), Counter[str]()
    found = sorted(pictures(folder, known, others))
    if not found:
        raise DataError(f"{folder} holds no picture that is read")
    for ending in (".txt", ".xml", ".json", ".yaml", ".csv", ".cache"):  # labels often lie beside the pictures
        others.pop(ending, None)
    if others:
        doubts.notes.append(f"{folder}: files of other kinds were left out: {kinds_of(others, known)}")
    return found


def given_splits(**named: tuple[str | None, str | None]) -> dict[str, tuple[str, str | None]]:
    """By split that is given: what says the objects, and the folder of its pictures where one is named."""
    return {split: (place, folder) for split, (place, folder) in named.items() if place is not None}


def unlabelled_rows(folder: str | None, doubts: Doubts) -> list[Row] | None:
    return None if folder is None else [{"image": str(file)} for file in pictures_below(Path(folder), doubts)]


def tables_of(
    found: dict[str, list[Row]],
    names: dict[str, str],
    labels: Sequence[str] | None,
    unlabelled: list[Row] | None,
    doubts: Doubts,
) -> Tables:
    return Tables(
        train=found["train"],
        eval=found["eval"],
        validation=found.get("validation"),
        unlabelled=unlabelled,
        labels=tuple(labels) if labels else None,
        about=", ".join(f"{split}: {name}" for split, name in names.items()),
        names=names,
        warnings=doubts.told(),
    )
