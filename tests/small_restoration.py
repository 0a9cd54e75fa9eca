"""A small task of pictures to restore, two random networks for it, and pictures that something can be restored in."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kd2deploy.networks.restorer import RestorerConfig, RestorerForImageToImage
from kd2deploy.tasks.image_restoration import ImageRestoration


def small_task(scale: int = 2, **more: Any) -> ImageRestoration:
    return ImageRestoration(scale=scale, **more)


def drawn_picture(height: int = 40, width: int = 48, seed: int = 0) -> "np.ndarray[Any, Any]":
    """[H, W, 3] uint8: waves of several directions and lengths in three colours, which have edges to lose."""
    draws = np.random.default_rng(seed)
    down, across = np.mgrid[0:height, 0:width]
    found = np.zeros((height, width, 3))
    for plane in range(3):
        for slope in draws.uniform(0.1, 1.2, (4, 2)):
            found[..., plane] += np.sin(slope[0] * down + slope[1] * across + draws.uniform(0, 6))
    return np.clip(128 + 30 * found, 0, 255).astype(np.uint8)


def made_rows(count: int = 6, height: int = 40, width: int = 48) -> list[dict[str, Any]]:
    """Rows whose inputs are made of their targets."""
    pictures = [drawn_picture(height, width, seed) for seed in range(count)]
    return [{"image": one, "label": one, "index": place} for place, one in enumerate(pictures)]


def restorer(channels: int = 8, blocks: int = 2, *, upscale: int = 2, seed: int = 0) -> RestorerForImageToImage:
    """A network of ours whose last convolution says something."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = RestorerForImageToImage(RestorerConfig(channels=channels, blocks=blocks, upscale=upscale))
        with torch.no_grad():
            nn.init.normal_(net.tail.weight, std=0.05)
    return net.eval()


def swin(embed_dim: int = 16, depths: tuple[int, ...] = (2, 2), *, upscale: int = 2, seed: int = 0) -> Any:
    """A Swin2SR of windows of 4 pixels and two heads a block."""
    from transformers import Swin2SRConfig, Swin2SRForImageSuperResolution

    config = Swin2SRConfig(
        embed_dim=embed_dim,
        depths=list(depths),
        num_heads=[2] * len(depths),
        window_size=4,
        image_size=16,
        upscale=upscale,
        upsampler="pixelshuffledirect" if upscale > 1 else "",
        initializer_range=0.2,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Swin2SRForImageSuperResolution(config).eval()


def saved(net: Any, folder: Path) -> Path:
    net.save_pretrained(folder)
    small_task(net.config.upscale).reader.write_inputs(folder)
    return folder
