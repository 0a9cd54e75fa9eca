"""How a small codebook is trained on a task's own pictures, where none is at hand: encoded, snapped to codes, decoded.

Source: van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", 2017, arXiv:1711.00937, section
3.2 (straight-through codes, the three losses and the commitment's weight).
Departs from it: absolute error in place of a likelihood, and neither the perceptual loss nor the discriminator of a
VQGAN. Codes begin at latents of the first batch. Steps, rate and sizes are ours.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.methods._codebook import Codebook, Layout, ResidualBlock, norm

COMMITMENT = 0.25
"""Weight of the latents' distance to their codes."""
APART = 0.01
"""Of the latents' deviation: noise that tells codes apart which begin at one latent."""


class Decoder(nn.Module):
    """What makes pictures of codes again, for training alone: a VQGAN's, without a discriminator."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        channels = [layout.base_channels * times for times in reversed(layout.channel_multiplier)]
        self.first = nn.Conv2d(layout.embed_dim, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            ResidualBlock(into, out) for into, out in zip([channels[0], *channels], channels, strict=False)
        )
        self.norm, self.last = norm(channels[-1]), nn.Conv2d(channels[-1], 3, 3, padding=1)

    def forward(self, state: Tensor) -> Tensor:
        state = self.first(state)
        for at, block in enumerate(self.blocks):
            state = block(F.interpolate(state, scale_factor=2.0) if at else state)
        found: Tensor = self.last(F.silu(self.norm(state)))
        return found


def restoring_loss(found: Codebook, decoder: Decoder, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, ""]:
    """Mean absolute error of the decoded picture, and the mean squared distances of codes and latents to each other."""
    _, latents = found(pictures)
    nearest = found.distances(latents).argmin(-1)
    codes: Tensor = found.quantize.embedding(nearest)
    moved: Tensor = (codes - latents.detach()).square().mean() + COMMITMENT * (codes.detach() - latents).square().mean()
    halvings = len(found.layout.channel_multiplier) - 1
    height, width = pictures.shape[-2] >> halvings, pictures.shape[-1] >> halvings
    through = (latents + (codes - latents).detach()).transpose(1, 2).unflatten(2, (height, width))
    again: Tensor = decoder(through)
    return (again - (pictures * 2 - 1)).abs().mean() + moved


@torch.no_grad()
def begin_at_latents(found: Codebook, pictures: Float[Tensor, "B 3 H W"]) -> None:
    """Each code begins at a random latent of some pictures: codes that are far from all of them would never be used."""
    latents = found(pictures)[1].flatten(0, 1)
    codes = found.quantize.embedding.weight
    chosen = latents[torch.randint(len(latents), (len(codes),)).to(latents.device)]
    codes.copy_(chosen + APART * latents.std() * torch.randn_like(chosen))


def fit(found: Codebook, pictures_at: Callable[[int], Tensor], steps: int, rate: float) -> None:
    """Train a codebook by Adam on `pictures_at(step)` [B, 3, H, W] in 0..1, whose sides whole halvings divide."""
    device = found.quantize.embedding.weight.device
    decoder = Decoder(found.layout).to(device)
    weights = [*found.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(weights, lr=rate)
    begin_at_latents(found, pictures_at(0))
    for step in range(steps):
        loss = restoring_loss(found, decoder, pictures_at(step))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    optimizer.zero_grad()  # no gradient is left on what is frozen from here on
