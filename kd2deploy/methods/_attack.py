"""Inputs that are moved a little so that a frozen network judges them worse: DI2-FGSM, with momentum.

Source: Xie et al., "Improving Transferability of Adversarial Examples with Input Diversity", CVPR 2019,
arXiv:1803.06978, as in the code of Liang et al., arXiv:2209.09841: 5 steps of 2/255, at most 8/255 from the input,
both times the largest range of a channel of the input as it is normalized; the gradient divided by its absolute sum,
plus the momentum (decay 1); with probability 0.5 the network sees the input shrunk to 0.9..1 of its size, at a random
place among zeros; cut to each channel's own least and greatest value; no random start.
Departs from it: shrinks both sides by one share, and so keeps the shape, where their code makes a square of the
width.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LEAST = 1e-20
"""Keeps a gradient of 0 from being divided by its sum; far below any other sum of float32."""


class Attack(NamedTuple):
    reach: float = 8 / 255
    """How far an input may be moved, as a share of its range."""
    step: float = 2 / 255
    steps: int = 5
    decay: float = 1.0
    """Of the momentum."""
    diverse: float = 0.5
    """Probability that the network sees it shrunk."""
    shrunk: float = 0.9
    """Least size that it is shrunk to."""


def diversified(inputs: Float[Tensor, "B D H W"], attack: Attack) -> Float[Tensor, "B D H W"]:
    """Perhaps shrunk and padded with zeros, all rows alike."""
    chance, share, down, across = torch.rand(4).tolist()
    if chance >= attack.diverse:
        return inputs
    height, width = inputs.shape[-2:]
    share = attack.shrunk + (1 - attack.shrunk) * share
    small = (max(1, int(height * share)), max(1, int(width * share)))
    top, left = int(down * (height - small[0] + 1)), int(across * (width - small[1] + 1))
    found = F.interpolate(inputs, size=small, mode="bilinear", align_corners=False)
    return F.pad(found, (left, width - small[1] - left, top, height - small[0] - top))


def limits(
    inputs: Float[Tensor, "B D H W"],
) -> tuple[Float[Tensor, "B D 1 1"], Float[Tensor, "B D 1 1"], Float[Tensor, "B 1 1 1"]]:
    """Each channel's least and greatest value, and the largest range of a row's channels."""
    low, high = inputs.amin((2, 3), keepdim=True), inputs.amax((2, 3), keepdim=True)
    return low, high, (high - low).amax(1, keepdim=True)


def attacked(
    inputs: Float[Tensor, "B D H W"], loss: Callable[[Tensor], Tensor], attack: Attack
) -> Float[Tensor, "B D H W"]:
    """The inputs moved up the gradient of a loss of them, which is summed or averaged over the rows."""
    inputs = inputs.detach()
    low, high, span = limits(inputs)
    moved, momentum = inputs, torch.zeros_like(inputs)
    for _ in range(attack.steps):
        moved = moved.detach().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(diversified(moved, attack)), moved)
        scale = gradient.abs().sum((1, 2, 3), keepdim=True).clamp(min=LEAST)
        momentum = gradient / scale + attack.decay * momentum
        farther = moved.detach() + attack.step * span * momentum.sign()
        moved = inputs + torch.clamp(farther - inputs, min=-attack.reach * span, max=attack.reach * span)
        moved = torch.clamp(moved, min=low, max=high)
    return moved.detach()
