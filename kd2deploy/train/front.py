"""A speech network's front end made thinner: its convolutions keep their strongest channels.

Kernels and strides stay, and so does the rate at which the network answers. A channel is kept by what the weights that
write and read it give it, as in `narrow.importance`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from kd2deploy.errors import ModelError
from kd2deploy.networks.frames import WAVES
from kd2deploy.train.channels import kept_channels
from kd2deploy.train.narrow import Axes

CONVOLUTION = re.compile(r"\bfeature_extractor\.conv_layers\.(\d+)\.conv\.weight$")
OF_CHANNELS = re.compile(r"\bfeature_extractor\.conv_layers\.(\d+)\.(?:conv\.bias|layer_norm\.(?:weight|bias))$")
"""One number for each channel of a convolution."""
READS = re.compile(r"\bfeature_projection\.(?:layer_norm\.(?:weight|bias)|projection\.weight)$")
"""What reads the last convolution's channels, along its last axis."""


def thinner(config: Any, front: Sequence[int] | None) -> list[int] | None:
    """The channels of a student's front end; None where it keeps the teacher's. Raises ModelError."""
    if front is None:
        return None
    if config.model_type not in WAVES:
        raise ModelError(
            f"a {config.model_type} has no front end that is made thinner (those of {', '.join(sorted(WAVES))} are); "
            "leave `front` out"
        )
    limits, sizes = list(config.conv_dim), list(front)
    if len(sizes) != len(limits) or any(not 1 <= size <= limit for size, limit in zip(sizes, limits, strict=True)):
        raise ModelError(f"front must be {len(limits)} numbers, each 1 to the teacher's {limits}, got {sizes}")
    return sizes


def channel(convolution: int) -> str:
    """The name of a convolution's channels among the axes of weights."""
    return f"front{convolution}"


def front_axes(name: str, axes: Axes, last: int) -> Axes:
    """The axes of a weight with the front end's channels named; `last` is the number of its last convolution."""
    if found := CONVOLUTION.search(name):
        number = int(found[1])
        return (channel(number), channel(number - 1) if number else None, None)
    if found := OF_CHANNELS.search(name):
        return (channel(int(found[1])),)
    return (*axes[:-1], channel(last)) if READS.search(name) else axes


def kept_in_front(
    weights: Mapping[str, tuple[Tensor, Axes]], teacher: Sequence[int], student: Sequence[int]
) -> dict[str, Tensor]:
    """The kept channels of every convolution that gets thinner."""
    pairs = enumerate(zip(teacher, student, strict=True))
    sizes = {channel(number): own for number, (whole, own) in pairs if own != whole}
    named = {
        name: (weight, tuple(axis if axis in sizes else None for axis in axes))
        for name, (weight, axes) in weights.items()
    }
    return kept_channels(named, sizes)
