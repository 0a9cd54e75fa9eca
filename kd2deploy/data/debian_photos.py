"""Photos that Debian's desktops bring as backgrounds (mate-backgrounds, plasma-workspace-wallpapers), to be restored.

They are JPEG files, so each is made half as large first: what its compression did is then mostly gone.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.data._tiled_photos import NO_PILLOW, middles, tiles
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

PLACES = ("backgrounds/mate", "wallpapers")
"""Where the two packages put their pictures, below Debian's /usr/share."""
ENDINGS = frozenset({".jpg", ".jpeg"})
"""The photos' own; what is drawn comes as PNG."""
BY_SIZE = re.compile(r"(?:^|_)(\d+)x(\d+)$")
"""How names end of files that hold one photo in several sizes."""
PREVIEW = "screenshot"
"""A wallpaper's own, far smaller."""
INSIDE = "contents"
"""Where a wallpaper's folder holds its one photo, in sizes and sometimes by day and by night."""
LEAST_PHOTOS = 9
SPLITS = ("train", "validation", "eval")


def debian_photos(
    folder: str = "/usr/share", halvings: int = 1, tile: int = 240, height: int = 320, width: int = 480
) -> Tables:
    """Tiles of more than half of the photos to train on; of a third of them, and of a ninth to choose by, the middle.

    A photo stands in one split alone. `halvings`: how often each is made half as large, by the mean of four pixels.
    Raises DataError where the packages are not installed.
    """
    if not 0 <= halvings <= 4 or tile < 32 or min(height, width) < 32:
        raise DataError("halvings is 0 to 4, and tile, height and width are 32 pixels or more")
    files = photos_in(Path(folder))
    if len(files) < LEAST_PHOTOS:
        raise DataError(
            f"{folder} holds {len(files)} of Debian's background photos: run `apt-get install mate-backgrounds "
            "plasma-workspace-wallpapers`, which brings 32; where you cannot, name in a recipe the folder that they "
            "were unpacked into (`apt-get download`, `dpkg -x`: `data: {use: debian_photos, folder: .../usr/share}`), "
            "or photos of your own (`data: {use: picture_pairs, train: FOLDER, eval: FOLDER}`)"
        )
    split = {at: "eval" if at % 3 == 1 else "validation" if at % 9 == 0 else "train" for at in range(len(files))}
    read = {name: [opened(file, halvings) for at, file in enumerate(files) if split[at] == name] for name in SPLITS}
    counts = {name: len(found) for name, found in read.items()}
    return Tables(
        train=tiles(read["train"], tile),
        eval=middles(read["eval"], height, width),
        validation=middles(read["validation"], height, width),
        about=f"{len(files)} background photos of Debian: {counts['train']} in tiles to train on, {counts['eval']} to "
        "judge by",
        names={name: f"Debian's photos, {name}" for name in SPLITS},
    )


def photos_in(folder: Path) -> list[Path]:
    """Every photo once, sorted by its path: links by what they lead to, and of several sizes the largest."""
    found = {
        file.resolve()
        for place in PLACES
        for file in sorted((folder / place).rglob("*"))
        if file.suffix.lower() in ENDINGS and file.stem != PREVIEW and file.is_file()
    }
    largest: dict[Path, Path] = {}
    for file in sorted(found):
        one = photo_of(file)
        if one not in largest or pixels_by_name(file) > pixels_by_name(largest[one]):
            largest[one] = file
    return sorted(largest.values())


def photo_of(file: Path) -> Path:
    """What all files of one photo have in common: a wallpaper's folder, or their name without a size."""
    if INSIDE in file.parts:
        return Path(*file.parts[: file.parts.index(INSIDE)])
    return file.with_name(BY_SIZE.sub("", file.stem))


def pixels_by_name(file: Path) -> int:
    """How many pixels a file has by its name; 0 where that says nothing."""
    said = BY_SIZE.search(file.stem)
    return int(said[1]) * int(said[2]) if said else 0


def opened(file: Path, halvings: int) -> "np.ndarray[Any, Any]":
    """[H, W, 3] uint8. Raises DataError."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise DataError(NO_PILLOW) from error
    try:
        with Image.open(file) as picture:
            found = picture.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{file} is not a picture that can be read ({error}); install its package again") from error
    return np.asarray(found.reduce(2**halvings) if halvings else found, dtype=np.uint8)
