"""Where in a network's input the things are that a row's label tells of: what a method knows of a picture's boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Regions(NamedTuple):
    """Boxes of a batch. Rows have different numbers of them, so some places only fill up."""

    boxes: Tensor
    """[B, T, 4]: left, top, right and bottom in 0..1 of the input's width and height."""
    classes: Tensor
    """[B, T] int64; negative where nothing is."""
    areas: Tensor
    """[B, T]: each box in pixels of the picture as it was given, before it was made as large as an input."""

    @property
    def there(self) -> Tensor:
        """[B, T] bool."""
        return self.classes >= 0
