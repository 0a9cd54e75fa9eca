"""Stamps of Tux Paint on background photos, with exact boxes: Debian's tuxpaint-stamps-default and mate-backgrounds.

Some stamps of every class are kept for judging: a network that has learnt the stamps by heart does not find those.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from kd2deploy.data._pasted import NO_PILLOW, Array, Cut, check, scenes
from kd2deploy.data.debian_photos import ENDINGS, photos_in
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

One = TypeVar("One")
STAMPS = "tuxpaint/stamps"
"""Where the package puts them, below Debian's /usr/share."""
LONGEST = 256
"""Pixels to which a stamp is made smaller once."""
REDUCED = 640
"""Pixels of a photo's shorter side, about."""
LEAST = 8
KEPT = {"eval": 4, "validation": 8}
"""Every so manieth stamp of a class is for that split alone."""


def stamped_scenes(
    folder: str = "/usr/share",
    classes: Sequence[str] = ("animals", "food", "plants", "vehicles"),
    side: int = 128,
    most: int = 3,
    train: int = 2000,
    validation: int = 200,
    eval: int = 400,
    unseen: bool = True,
    seed: int = 0,
) -> Tables:
    """So many scenes, `side` pixels square, with up to `most` objects each; `classes` are the stamps' folders.

    `unseen`: stamps and photos of the scenes to judge by stand in no other; else these are new scenes of the same.
    Raises DataError where the packages are not installed.
    """
    check(side, most, {"train": train, "validation": validation, "eval": eval})
    place = Path(folder)
    photos = [reduced(file) for file in photos_in(place) if file.suffix.lower() in ENDINGS]
    stamps = {name: stamps_in(place / STAMPS / name) for name in classes}
    lacking = next((name for name, found in stamps.items() if len(found) < LEAST), None)
    if len(photos) < 3 or lacking is not None or not classes:
        photographs = f"{len(photos)} background photos"
        what = photographs if lacking is None else f"{len(stamps[lacking])} stamps of {lacking!r}"
        raise DataError(
            f"{folder} holds {what}; `apt-get install tuxpaint-stamps-default mate-backgrounds` brings them (or "
            "`apt-get download` them, unpack with `dpkg -x`, and name the folder: `data: {use: stamped_scenes, folder: "
            ".../usr/share}`)"
        )
    made = {}
    for at, (split, count) in enumerate({"train": train, "validation": validation, "eval": eval}.items()):
        own = {name: [cut_of(file) for file in of_split(found, split, unseen)] for name, found in stamps.items()}
        made[split] = scenes(of_split(photos, split, unseen), own, count, side, most, 3 * seed + at)
    how = "stamps and photos of their own" if unseen else "the same stamps and photos"
    return Tables(
        train=made["train"],
        eval=made["eval"],
        validation=made["validation"],
        labels=tuple(classes),
        about=f"Tux Paint's stamps on Debian's photos: {train} scenes to train on, {eval} of {how} to judge by",
        names={split: f"stamped scenes, {split}" for split in made},
    )


def of_split(found: Sequence[One], split: str, unseen: bool) -> list[One]:
    """What a split alone may show."""
    if not unseen:
        return list(found)
    whose = [next((name for name, each in KEPT.items() if at % each == each // 2), "train") for at in range(len(found))]
    kept = [one for one, name in zip(found, whose, strict=True) if name == split]
    return kept or [one for one, name in zip(found, whose, strict=True) if name == "train"]


def stamps_in(folder: Path) -> list[Path]:
    """Those drawn as pixels, sorted by their paths; a mirrored or turned copy of one has its name and is left out."""
    return [file for file in sorted(folder.rglob("*.png")) if not file.stem.endswith(("_mirror", "_flip"))]


def cut_of(file: Path) -> Cut:
    return partial(given, opened(file))


def given(stamp: "Image", draws: np.random.Generator) -> "Image":
    return stamp


def opened(file: Path) -> "Image":
    """RGBA, its longer side `LONGEST` pixels at most. Raises DataError."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(NO_PILLOW) from error
    try:
        with Image.open(file) as picture:
            found = picture.convert("RGBA")
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{file} is not a picture that can be read ({error}); install its package again") from error
    found.thumbnail((LONGEST, LONGEST))
    return found


def reduced(file: Path) -> Array:
    """[H, W, 3] uint8. Raises DataError."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(NO_PILLOW) from error
    try:
        with Image.open(file) as picture:
            picture.draft("RGB", (REDUCED, REDUCED))
            found = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{file} is not a picture that can be read ({error}); install its package again") from error
    times = max(1, min(found.size) // REDUCED)
    return np.asarray(found.reduce(times) if times > 1 else found, dtype=np.uint8)
