"""Pictures changed at random for training, with Pillow: cut out, shifted, mirrored, turned, and RandAugment.

Sources: Szegedy et al., "Going Deeper with Convolutions", 2014, arXiv:1409.4842, section 6 (parts of a picture); Cubuk,
Zoph, Shlens, Le, "RandAugment: Practical automated data augmentation with a reduced search space", 2019,
arXiv:1909.13719, section 3; the ranges are those of Cubuk et al., "AutoAugment", 2018, arXiv:1805.09501, table 6.
Departs from them: `magnitude` is a share of these ranges; what comes in from beyond the border is black; a part is
stretched to the network's size by its own processor.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

RATIOS = (math.log(3 / 4), math.log(4 / 3))
"""Logs of width over height of the parts that are cut out: Szegedy et al."""
ATTEMPTS = 10
"""At a part that fits into the picture, before all of it is taken. The value is ours."""
SHEAR, SHIFT, ANGLE, COLOUR = 0.3, 150 / 331, 30.0, 0.9
"""AutoAugment's widest: slope, share of the side, degrees, and how far a factor goes from 1."""
MOST_OPERATIONS = 16


@dataclass(frozen=True)
class Augment:
    """What is done to a picture, in this order; each is off unless it is named."""

    resized_crop: tuple[float, float] | None = None
    """A part of so much of the area, such as (0.08, 1), takes the place of the whole."""
    padded_crop: int = 0
    """Shifted by at most so many of its own pixels, in both directions."""
    flip: float = 0.0
    """Probability of left and right being exchanged."""
    rotate: float = 0.0
    """Turned by at most so many degrees to either side."""
    randaugment: int = 0
    """So many operations of RandAugment, drawn anew."""
    magnitude: float = 0.3
    """Of RandAugment's operations, as a share of the widest."""

    def __post_init__(self) -> None:
        least, most = self.resized_crop or (1.0, 1.0)
        known = {
            "resized_crop": (0 < least <= most <= 1, "is two shares of the area, from above 0 to 1"),
            "padded_crop": (0 <= self.padded_crop <= 8192, "is from 0 to 8192 pixels"),
            "flip": (0 <= self.flip <= 1, "is a probability, from 0 to 1"),
            "rotate": (0 <= self.rotate <= 180, "is from 0 to 180 degrees"),
            "randaugment": (0 <= self.randaugment <= MOST_OPERATIONS, f"is from 0 to {MOST_OPERATIONS} operations"),
            "magnitude": (0 <= self.magnitude <= 1, "is a share, from 0 to 1"),
        }
        for name, (holds, rule) in known.items():
            if not holds:
                raise ValueError(f"{name} {rule}, got {getattr(self, name)!r}")
        if all(getattr(self, one.name) == one.default for one in fields(self) if one.name != "magnitude"):
            raise ValueError("names nothing that is done; name resized_crop, padded_crop, flip, rotate or randaugment")

    def applied(self, picture: "Image", draws: np.random.Generator) -> "Image":
        """The picture changed: grey or RGB, as it came."""
        from PIL import Image, ImageOps

        if self.resized_crop is not None:
            picture = picture.crop(part(picture.size, self.resized_crop, draws))
        if self.padded_crop:
            right, down = (int(way) for way in draws.integers(-self.padded_crop, self.padded_crop + 1, 2))
            picture = picture.crop((right, down, right + picture.width, down + picture.height))
        if self.flip and draws.random() < self.flip:
            picture = ImageOps.mirror(picture)
        if self.rotate:
            picture = picture.rotate(draws.uniform(-self.rotate, self.rotate), Image.Resampling.BILINEAR)
        names = sorted(OPERATIONS)
        for at in draws.integers(0, len(names), self.randaugment):
            picture = OPERATIONS[names[at]](picture, self.magnitude, 1 if draws.random() < 0.5 else -1)
        return picture


def part(size: tuple[int, int], shares: tuple[float, float], draws: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a part with a share of the area; all of it where none of the ten drawn fits."""
    width, height = size
    for _ in range(ATTEMPTS):
        area = width * height * draws.uniform(*shares)
        ratio = math.exp(draws.uniform(*RATIOS))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(draws.integers(0, width - wide + 1)), int(draws.integers(0, height - high + 1))
            return left, top, left + wide, top + high
    return 0, 0, width, height


Operation = Callable[["Image", float, int], "Image"]
"""A picture, a share of the operation's widest, and which way."""


def autocontrast(picture: "Image", share: float, way: int) -> "Image":
    from PIL import ImageOps

    return ImageOps.autocontrast(picture)


def equalize(picture: "Image", share: float, way: int) -> "Image":
    from PIL import ImageOps

    return ImageOps.equalize(picture)


def posterize(picture: "Image", share: float, way: int) -> "Image":
    from PIL import ImageOps

    return ImageOps.posterize(picture, 8 - round(4 * share))


def solarize(picture: "Image", share: float, way: int) -> "Image":
    from PIL import ImageOps

    return ImageOps.solarize(picture, round(256 * (1 - share)))


def rotate(picture: "Image", share: float, way: int) -> "Image":
    from PIL import Image

    return picture.rotate(way * share * ANGLE, Image.Resampling.BILINEAR)


def moved(picture: "Image", slope: tuple[float, float], shift: tuple[float, float]) -> "Image":
    """Each point taken from another: x + slope * y + shift, shifts as shares of the sides."""
    from PIL import Image

    across, down = shift[0] * picture.width, shift[1] * picture.height
    matrix = (1, slope[0], across, slope[1], 1, down)
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def enhanced(kind: str) -> Operation:
    """One of Pillow's four factors: 1 leaves the picture, 0 takes all of it away."""

    def by(picture: "Image", share: float, way: int) -> "Image":
        from PIL import ImageEnhance

        found: Image = getattr(ImageEnhance, kind)(picture).enhance(1 + way * share * COLOUR)
        return found

    return by


OPERATIONS: Mapping[str, Operation] = {
    "autocontrast": autocontrast,
    "brightness": enhanced("Brightness"),
    "color": enhanced("Color"),
    "contrast": enhanced("Contrast"),
    "equalize": equalize,
    "identity": lambda picture, share, way: picture,
    "posterize": posterize,
    "rotate": rotate,
    "sharpness": enhanced("Sharpness"),
    "shear_x": lambda picture, share, way: moved(picture, (way * share * SHEAR, 0), (0, 0)),
    "shear_y": lambda picture, share, way: moved(picture, (0, way * share * SHEAR), (0, 0)),
    "solarize": solarize,
    "translate_x": lambda picture, share, way: moved(picture, (0, 0), (way * share * SHIFT, 0)),
    "translate_y": lambda picture, share, way: moved(picture, (0, 0), (0, way * share * SHIFT)),
}
"""RandAugment's fourteen."""
