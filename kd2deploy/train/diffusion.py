"""A small diffusion model of the very inputs that are to be varied: fitted to them, then asked for variants of each.

Sources: Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, arXiv:2006.11239 (the objective); Nichol,
Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021, arXiv:2102.09672 (the cosine schedule); Song, Meng,
Ermon, "Denoising Diffusion Implicit Models", 2020, arXiv:2010.02502 (the steps back); Meng et al., "SDEdit", 2021,
arXiv:2108.01073 (variants: noise is laid over an input and taken away again).
Departs from them: time is a share, not a number of steps; the network's weights are not averaged over its training. How
long, how fast and in how many steps are ours.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS, BATCH, RATE = 2_000, 64, 1e-3
"""Optimizer steps, inputs per step and learning rate of the denoiser's training."""
STEPS_BACK = 20
"""In which the noise of a variant is taken away."""
LATEST = 0.95
"""The share of the time up to which noise is laid on: at 1 nothing of an input is left to find."""


def signal(time: Tensor) -> Tensor:
    """How much of an input's variance is left at a time in 0..1; the rest is noise."""
    return (time * math.pi / 2).cos().square()


def noised(inputs: Tensor, time: Tensor, noise: Tensor) -> Tensor:
    """Inputs [B, ...] in -1..1 with noise of variance 1 laid over them as at their time [B]."""
    left = signal(time).reshape(-1, *(1 for _ in inputs.shape[1:]))
    return left.sqrt() * inputs + (1 - left).sqrt() * noise


def fit(denoiser: nn.Module, inputs: Tensor, steps: int, told: Callable[[int, int], None]) -> None:
    """Teach a denoiser the noise in inputs [N, ...] in 0..1: squared error, mean over all values."""
    device = next(denoiser.parameters()).device
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / max(1, steps))
    denoiser.train()
    for step in range(steps):
        clean = 2 * inputs[torch.randint(len(inputs), (BATCH,))].to(device) - 1
        time, noise = torch.rand(BATCH).to(device), torch.randn(clean.shape).to(device)
        loss = F.mse_loss(denoiser(noised(clean, time, noise), time), noise)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        told(step + 1, steps)
    denoiser.eval()


@torch.no_grad()
def varied(denoiser: nn.Module, inputs: Tensor, strength: float, steps: int = STEPS_BACK) -> Tensor:
    """One variant of each input [B, ...] in 0..1: noise as at time `strength` is laid over it and taken away again.

    Strength 0 gives the inputs back. On their device, in 0..1.
    """
    times = torch.linspace(min(strength, LATEST), 0, steps + 1).tolist()
    clean = 2 * inputs - 1
    found = noised(clean, at(times[0], inputs), torch.randn(inputs.shape).to(inputs.device))
    for now, then in pairwise(times):
        time, later = at(now, inputs), at(then, inputs)
        noise = denoiser(found, time)
        left = float(signal(time[:1]))
        clean = ((found - math.sqrt(1 - left) * noise) / math.sqrt(left)).clamp(-1, 1)
        found = noised(clean, later, noise)
    return (found.clamp(-1, 1) + 1) / 2


def at(time: float, inputs: Tensor) -> Tensor:
    """[B]: the same time for all inputs."""
    return torch.full((len(inputs),), time, device=inputs.device)
