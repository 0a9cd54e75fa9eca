"""Inputs made of a frozen teacher alone: what it tells of those that it knows, and a generator that learns from it.

Source: Yin et al., "Dreaming to Distill via DeepInversion", 2020, arXiv:1912.08795, for the statistics of the batch
normalizations, and the authors' code of the method that is named `data_free` here, for the generator's training.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kd2deploy.core import Batch, TaskNetworks, counted_logits
from kd2deploy.errors import TrainError

NOISE = 256
"""Width of what a generator makes inputs of."""
RATE, BETAS = 1e-3, (0.5, 0.999)
"""Of the Adam that trains a generator and its noise."""


# what a frozen teacher tells -------------------------------------------------------------------------------------


def statistics_distance(
    seen: Float[Tensor, "B D *P"], mean: Float[Tensor, "D"], variance: Float[Tensor, "D"]
) -> Float[Tensor, ""]:
    """|mean of what is seen - mean| + |its variance - variance|, Euclidean over the channels."""
    over = (0, *range(2, seen.dim()))
    of_means: Tensor = torch.linalg.vector_norm(seen.mean(over) - mean)
    of_variances: Tensor = torch.linalg.vector_norm(seen.var(over, correction=0) - variance)
    return of_means + of_variances


def normalizations(net: nn.Module) -> list[_BatchNorm]:
    """A network's batch normalizations that know what they saw in training."""
    found = (module for module in net.modules() if isinstance(module, _BatchNorm))
    return [module for module in found if module.running_mean is not None and module.running_var is not None]


@contextmanager
def statistics_of(net: nn.Module) -> Iterator[list[Float[Tensor, ""]]]:
    """Inside the block, one `statistics_distance` for each batch normalization that an input passes."""
    found: list[Tensor] = []

    def look(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, _BatchNorm)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        found.append(statistics_distance(given[0].float(), layer.running_mean, layer.running_var))

    handles = [layer.register_forward_pre_hook(look) for layer in normalizations(net)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def strangeness(kind: TaskNetworks, teacher: nn.Module, shown: Batch, labels: Int64[Tensor, "B"]) -> Float[Tensor, ""]:
    """How little the inputs are, to a teacher, examples of their labels: cross-entropy (nats, mean over the batch), and
    the sum of the statistics' distances."""
    with statistics_of(teacher) as apart:
        seen = kind.observe(teacher, shown)
    return F.cross_entropy(counted_logits(seen), labels) + torch.stack(apart).sum()


# what a generator makes ------------------------------------------------------------------------------------------


class Range(NamedTuple):
    """Between which values a network's inputs lie, by channel."""

    lowest: Float[Tensor, "D *P"]
    highest: Float[Tensor, "D *P"]

    @classmethod
    def of(cls, inputs: Float[Tensor, "B D *P"]) -> "Range":
        channels = inputs.transpose(0, 1).flatten(1)
        shape = (-1, *(1 for _ in inputs.shape[2:]))
        return cls(channels.amin(1).reshape(shape), channels.amax(1).reshape(shape))

    def values(self, made: Float[Tensor, "B D *P"]) -> Float[Tensor, "B D *P"]:
        """What a network reads of inputs made in 0..1."""
        return self.lowest + made * (self.highest - self.lowest)


def made_by(
    generator: nn.Module, count: int, steps: int, loss: Callable[[Tensor], Tensor]
) -> Float[Tensor, "count ..."]:
    """Inputs in 0..1: those of the least `loss` that a generator made while it and its noise learned to lower it.

    Raises TrainError where the loss never was a number.
    """
    device = next(generator.parameters()).device
    noise = torch.randn(count, NOISE).to(device).requires_grad_(True)
    weights = [noise, *generator.parameters()]
    optimizer = torch.optim.Adam(weights, lr=RATE, betas=BETAS)
    least, best = math.inf, None
    for _ in range(steps):
        made: Tensor = generator(noise)
        value = loss(made)
        if value.item() < least:
            least, best = value.item(), made.detach()
        for weight, gradient in zip(weights, torch.autograd.grad(value, weights), strict=True):
            weight.grad = gradient
        optimizer.step()
    if best is None:
        raise TrainError("inputs that are made of the teacher have no finite loss; check the teacher's weights")
    return best
