"""The named axes of a ConvNeXt: which weights share their channels, and must therefore be cut alike.

A stage's channels run through the convolution before it, the ends of its blocks and the norm after it; the wide middle
of a block is that block's own.
"""

import re
from collections.abc import Sequence

from kd2deploy.train.narrow import Axes

PLACE = re.compile(
    r"\bstages\.(?P<stage>\d+)\.(?:layers\.(?P<layer>\d+)|downsampling_layer\.(?P<step>\d+))\.(?P<what>\w+)"
)


def convnext_axes(name: str, shape: Sequence[int], stages: int) -> Axes:
    """The axes of the teacher's weight `name`."""
    found = PLACE.search(name)
    if found is None:
        if ".embeddings." in name:
            return along(("stage.0",), shape)
        last = f"stage.{stages - 1}"
        return (None, last) if len(shape) == 2 else (last,) if ".layernorm." in name else (None,) * len(shape)
    stage = int(found["stage"])
    own, inner = f"stage.{stage}", f"inner.{stage}.{found['layer']}"
    if found["layer"] is None:
        before = f"stage.{stage - 1}"
        return along((before,) if found["step"] == "0" else (own, before), shape)
    if found["what"] == "pwconv1":
        return along((inner, own), shape)
    if found["what"] == "pwconv2":
        return along((own, inner), shape)
    if found["what"] == "grn":  # ConvNeXt V2's, over the last of four axes
        return (None,) * (len(shape) - 1) + (inner,)
    return along((own,), shape)


def along(names: Axes, shape: Sequence[int]) -> Axes:
    """The first axes by name, the others unnamed."""
    return (*names, *(None,) * len(shape))[: len(shape)]
