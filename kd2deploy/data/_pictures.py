"""A folder of pictures: one folder per class, whose name is the label, or pictures alone, which have none."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kd2deploy.errors import DataError

Row = dict[str, Any]
ENDINGS = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pbm", ".pgm", ".ppm"}
)
SPLITS = frozenset(
    {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation", "unlabelled"}
)
SYSTEMS = frozenset(
    {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information"}
)
"""What systems put beside pictures, in lower case: resource forks of macOS that end in .png, Windows' and a network
drive's own small copies, what was thrown away."""
SHOWN = 5


def picture_rows(folder: Path, notes: list[str]) -> list[Row]:
    """`image`, and `label` where there are folders of classes. What is left out is added to `notes`, once and counted.

    Raises DataError for a folder that holds the splits instead of the classes, and for one without a picture.
    """
    known, others = endings(), Counter[str]()
    places = sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path))
    found = {place: sorted(pictures(place, known, others)) for place in places}
    beside = [file for file in sorted(folder.iterdir()) if not is_hidden(file) and is_picture(file, known, others)]
    refuse_splits(folder, [place for place in places if found[place]])
    if others:
        notes.append(f"{folder}: files of other kinds were left out: {kinds_of(others, known)}")
    if not beside and not any(found.values()):
        raise DataError(f"{folder} holds no picture that is read" + (f": {kinds_of(others, known)}" if others else ""))
    if not places:
        return [{"image": str(file)} for file in beside]
    if beside:
        names = listed([file.name for file in beside])
        notes.append(f"{folder}: pictures beside the folders of the classes were left out: {names}")
    empty = [place.name for place in places if not found[place]]
    if empty:
        notes.append(f"{folder}: no class was made of {listed(empty)}, where no picture is that can be read")
    return [{"image": str(file), "label": place.name} for place in places for file in found[place]]


def kinds_of(others: Counter[str], known: frozenset[str]) -> str:
    """What other files there are, and what would be read."""
    kinds = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in others.most_common())
    return f"{kinds}; pictures are read as {', '.join(sorted(known))}"


def pictures(place: Path, known: frozenset[str], others: Counter[str]) -> Iterator[Path]:
    """The pictures in a folder and below; files of other endings are counted."""
    for path in place.iterdir():
        if is_hidden(path):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from pictures(path, known, others)
        elif is_picture(path, known, others):
            yield path


def is_hidden(path: Path) -> bool:
    """What a system, an editor or an archiver keeps to itself."""
    return path.name.startswith(".") or path.name.lower() in SYSTEMS


def is_picture(path: Path, known: frozenset[str], others: Counter[str]) -> bool:
    if path.is_dir():
        return False
    if path.suffix.lower() in known and path.is_file():
        return True
    others[path.suffix.lower()] += 1
    return False


def endings() -> frozenset[str]:
    """Endings that are read as pictures; .avif where this Pillow was built with it."""
    try:
        from PIL import features
    except ImportError:  # the task says what to install
        return ENDINGS
    return ENDINGS | {".avif"} if features.check("avif") else ENDINGS


def refuse_splits(folder: Path, places: list[Path]) -> None:
    """Raises DataError where the folders are those of the splits, with the classes below them.

    One folder may be a class that is called so, such as trains among vehicles: it has its pictures in itself.
    """
    called = [place for place in places if place.name.lower() in SPLITS]
    nested = [place for place in called if any(path.is_dir() and not is_hidden(path) for path in place.iterdir())]
    if called and (len(called) == len(places) or len(called) > 1 or nested):
        raise DataError(
            f"{folder} holds {listed([place.name for place in called])}, which are splits and no classes; give one "
            f"folder per split, such as `train: {called[0]}`"
        )


def listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" ... ({len(names)} in all)" if len(names) > SHOWN else "")
