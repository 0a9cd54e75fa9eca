"""Networks that make pictures: a generator that makes them out of noise, and one that finds the noise in them.

Sources: Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", 2015, arXiv:1511.06434, with the upsampling that data-free distillation has in place of transposed
convolutions (Chen et al., "Data-Free Learning of Student Networks", 2019, arXiv:1904.01186); Ronneberger et al.,
"U-Net", 2015, arXiv:1505.04597, told the share of noise as in Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic
Models", 2020, arXiv:2006.11239.
Departs from them: the second is small, with two levels and no attention. Its widths are ours.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GENERATOR_WIDTH = 64
DENOISER_WIDTH = 32
GROUPS = 8
"""Of the group normalizations."""
WAVES = 8
"""Sines, and as many cosines, by which a network is told a share of noise."""


class Generator(nn.Module):
    """Noise [B, noise] to pictures [B, C, H, W] in 0..1, from a quarter of their height and width on."""

    def __init__(self, shape: Sequence[int], noise: int, width: int = GENERATOR_WIDTH) -> None:
        super().__init__()
        channels, height, side = shape
        half, quarter = ((-(-height // by), -(-side // by)) for by in (2, 4))
        self.coarse = (2 * width, *quarter)
        self.spread = nn.Linear(noise, math.prod(self.coarse))
        self.drawn = nn.Sequential(
            nn.BatchNorm2d(2 * width),
            nn.Upsample(size=half),
            *normalised_convolution(2 * width, 2 * width),
            nn.Upsample(size=(height, side)),
            *normalised_convolution(2 * width, width),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, noise: Tensor) -> Tensor:
        found: Tensor = self.drawn(self.spread(noise).unflatten(1, self.coarse))
        return found


def normalised_convolution(read: int, made: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(read, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.LeakyReLU(0.2)


class Denoiser(nn.Module):
    """Pictures [B, C, H, W] with noise in them and its share [B], 0..1, to that noise [B, C, H, W]."""

    def __init__(self, channels: int, width: int = DENOISER_WIDTH) -> None:
        super().__init__()
        told = 4 * width
        self.share = nn.Sequential(nn.Linear(2 * WAVES, told), nn.SiLU(), nn.Linear(told, told))
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.fine, self.coarse = Block(width, width, told), Block(width, 2 * width, told)
        self.middle = Block(2 * width, 2 * width, told)
        self.coarse_again, self.fine_again = Block(4 * width, width, told), Block(2 * width, width, told)
        self.leave = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, pictures: Tensor, share: Tensor) -> Tensor:
        told = self.share(waves(share))
        fine = self.fine(self.enter(pictures), told)
        coarse = self.coarse(halved(fine), told)
        middle = self.middle(halved(coarse), told)
        coarse = self.coarse_again(beside(middle, coarse), told)
        found: Tensor = self.leave(self.fine_again(beside(coarse, fine), told))
        return found


class Block(nn.Module):
    """Two convolutions, each after a normalization, around what is told; its input is added to its output."""

    def __init__(self, read: int, made: int, told: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(GROUPS, read), nn.SiLU(), nn.Conv2d(read, made, 3, padding=1))
        self.told = nn.Linear(told, made)
        self.second = nn.Sequential(nn.GroupNorm(GROUPS, made), nn.SiLU(), nn.Conv2d(made, made, 3, padding=1))
        self.around = nn.Identity() if read == made else nn.Conv2d(read, made, 1)

    def forward(self, maps: Tensor, told: Tensor) -> Tensor:
        found: Tensor = self.second(self.first(maps) + self.told(told)[:, :, None, None]) + self.around(maps)
        return found


def waves(share: Tensor) -> Tensor:
    """[B, 2 * WAVES]: sines and cosines of the share, each of twice the frequency of the one before."""
    angles = share[:, None] * math.pi * 2.0 ** torch.arange(WAVES, device=share.device)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def halved(maps: Tensor) -> Tensor:
    return F.avg_pool2d(maps, 2, ceil_mode=True)


def beside(small: Tensor, large: Tensor) -> Tensor:
    """The small maps, made as large as the large ones, and these behind them."""
    return torch.cat([F.interpolate(small, size=large.shape[-2:]), large], dim=1)
