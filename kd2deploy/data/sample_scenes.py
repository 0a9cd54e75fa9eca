"""Discs, squares and triangles drawn on scikit-learn's two photos, with exact boxes: for smoke tests."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kd2deploy.data._pasted import NO_PILLOW, check, scenes
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SHAPES = ("disc", "square", "triangle")
DRAWN = 64
"""Pixels a side of what is drawn, before it is made as large as it is pasted."""


def sample_scenes(
    side: int = 64, most: int = 2, train: int = 400, validation: int = 40, eval: int = 80, seed: int = 0
) -> Tables:
    """So many scenes, `side` pixels square, with up to `most` objects each, of any colour. Raises DataError."""
    check(side, most, {"train": train, "validation": validation, "eval": eval})
    from sklearn.datasets import load_sample_images

    try:
        photos = load_sample_images().images
    except ImportError as error:
        raise DataError(NO_PILLOW) from error
    cuts = {name: [partial(drawn, name)] for name in SHAPES}
    made = {
        split: scenes(photos, cuts, count, side, most, 3 * seed + at)
        for at, (split, count) in enumerate({"train": train, "validation": validation, "eval": eval}.items())
    }
    return Tables(
        train=made["train"],
        eval=made["eval"],
        validation=made["validation"],
        labels=SHAPES,
        about=f"discs, squares and triangles on scikit-learn's two photos, {train} scenes to train on",
        names={split: f"drawn scenes, {split}" for split in made},
    )


def drawn(shape: str, draws: np.random.Generator) -> "Image":
    """A shape of one colour (RGBA), up to twice as wide as high or the other way round."""
    from PIL import Image, ImageDraw

    found = Image.new("RGBA", (DRAWN, DRAWN))
    colour = tuple(int(value) for value in draws.integers(0, 256, 3))
    draw, end = ImageDraw.Draw(found), DRAWN - 1
    if shape == "disc":
        draw.ellipse((0, 0, end, end), fill=colour)
    elif shape == "square":
        draw.rectangle((0, 0, end, end), fill=colour)
    else:
        draw.polygon([(DRAWN // 2, 0), (end, end), (0, end)], fill=colour)
    width, height = (round(DRAWN * value) for value in draws.uniform(0.7, 1, 2))
    return found.resize((width, height))
