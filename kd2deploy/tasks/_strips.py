"""One picture, restored by several networks, side by side: the same middle part of each."""

import base64
import io
from collections.abc import Mapping

import numpy as np

from kd2deploy.core import Array
from kd2deploy.core.examples import Shown

SIDE = 160
"""Pixels of the part that is shown, at most."""
GAP = 4
"""Pixels between two parts."""
WHITE = 255


def strip(panels: Mapping[str, Array], title: str) -> Shown:
    """Pictures [H, W, 3] uint8 of one size by what they are, from left to right. `title` says which row it is."""
    parts = [middle(one) for one in panels.values()]
    height, width = parts[0].shape[:2]
    whole = np.full((height, len(parts) * (width + GAP) - GAP, 3), WHITE, dtype=np.uint8)
    for place, part in enumerate(parts):
        left = place * (width + GAP)
        whole[:, left : left + width] = part
    return Shown(f"{title}, from left to right: {', '.join(panels)}", png(whole))


def middle(picture: Array) -> Array:
    """The middle of a picture, as large as is shown."""
    top, left = (max(0, (size - SIDE) // 2) for size in picture.shape[:2])
    return picture[top : top + SIDE, left : left + SIDE]


def png(picture: Array) -> str:
    """A picture as PNG, in base64."""
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()
