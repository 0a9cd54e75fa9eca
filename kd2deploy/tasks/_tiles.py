"""A picture restored in tiles, for one that does not fit into the memory at once.

The bundle's card holds this very function: it needs numpy and what runs the file, and nothing of this package.
"""

import inspect
from collections.abc import Callable

from kd2deploy.core import Array


def in_tiles(run: Callable[[Array], Array], picture: Array, scale: int, tile: int = 256, margin: int = 32) -> Array:
    """[1, 3, H * scale, W * scale] of a picture [1, 3, H, W].

    Each tile is read with a margin around it, which is then cut off: the answer is that of the whole picture where a
    network looks no further than the margin, and nearly so where it looks further.
    """
    import numpy

    height, width = picture.shape[-2:]
    found = numpy.empty((*picture.shape[:2], height * scale, width * scale), dtype=picture.dtype)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            above, before = max(0, top - margin), max(0, left - margin)
            part = run(picture[..., above : bottom + margin, before : right + margin])
            low, wide = (top - above) * scale, (left - before) * scale
            found[..., top * scale : bottom * scale, left * scale : right * scale] = part[
                ..., low : low + (bottom - top) * scale, wide : wide + (right - left) * scale
            ]
    return found


def tile_code() -> str:
    """The function as it stands above, for code that has no such package."""
    source = inspect.getsource(in_tiles)
    return source.replace("run: Callable[[Array], Array], picture: Array, scale: int", "run, picture, scale").replace(
        "tile: int = 256, margin: int = 32) -> Array", "tile=256, margin=32)"
    )
