"""How inputs are made of clean pictures: smaller by a whole factor (bicubic), with Gaussian noise, or both.

Pictures are cropped at the right and the bottom to a multiple of the factor first, as the field does. The filter is
Pillow's bicubic (a = -0.5, wider when it makes smaller), which is that of MATLAB's imresize but for its rounding.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kd2deploy.core import Array

if TYPE_CHECKING:
    from PIL.Image import Image

SCALES = (1, 2, 3, 4, 8)
LARGEST_NOISE = 255.0


class Part(NamedTuple):
    """A part of an input, in the input's own pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Degradation:
    """What was done to the pictures that are to be restored."""

    scale: int = 2
    """How many times smaller an input is; 1 leaves the size."""
    noise: float = 0.0
    """Standard deviation of what is added to every value, in the bytes' unit."""

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(f"scale is one of {', '.join(map(str, SCALES))}, got {self.scale}")
        if not 0 <= self.noise <= LARGEST_NOISE:
            raise ValueError(f"noise is a standard deviation of 0 to {LARGEST_NOISE:g} grey levels, got {self.noise}")

    @property
    def none(self) -> bool:
        """Whether a picture would stay what it is."""
        return self.scale == 1 and self.noise == 0

    def whole(self, clean: "Image") -> Part:
        """The whole of the input that is made of a clean picture."""
        return Part(0, 0, clean.width // self.scale, clean.height // self.scale)

    def applied(self, clean: "Image", part: Part, draws: np.random.Generator) -> Array:
        """[h, w, 3] uint8: a part of the input, as it would be cut out of the whole input, with noise of its own."""
        from PIL import Image

        times = self.scale
        inside = clean.crop((0, 0, clean.width // times * times, clean.height // times * times))
        left, top = part.left * times, part.top * times
        box = (left, top, left + part.width * times, top + part.height * times)
        # `resize` reads what lies around the box too, so that a part is the whole's
        small = (
            inside.resize((part.width, part.height), Image.Resampling.BICUBIC, box) if times > 1 else inside.crop(box)
        )
        found = np.asarray(small, dtype=np.uint8)
        if self.noise == 0:
            return found
        noisy = found + draws.normal(0.0, self.noise, found.shape)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def enlarged(picture: Array, scale: int) -> Array:
    """[H, W, 3] uint8 of [h, w, 3]: what bicubic interpolation makes of it."""
    from PIL import Image

    if scale == 1:
        return picture
    size = (picture.shape[1] * scale, picture.shape[0] * scale)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC), dtype=np.uint8)
