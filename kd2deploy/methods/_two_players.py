"""What a game between a generator and the student needs: whose turn it is, and who learns and drops out meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def generator_plays(turn: int, ascents: int, descents: int) -> bool:
    """Whether mini-batch `turn` (from 0, counted over the whole training) is the generator's: the first `ascents` of
    every `ascents + descents`."""
    return turn % (ascents + descents) < ascents


@contextmanager
def learning(module: nn.Module) -> Iterator[tuple[nn.Parameter, ...]]:
    """The module's parameters, differentiable inside the block and frozen outside of it."""
    weights = tuple(module.parameters())
    module.requires_grad_(True)
    try:
        yield weights
    finally:
        module.requires_grad_(False)


@contextmanager
def evaluating(*nets: nn.Module) -> Iterator[None]:
    """The networks in eval mode inside the block, each of their modules in its own mode again after it."""
    training = [module for net in nets for module in net.modules() if module.training]
    for net in nets:
        net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
