"""What a game between a generator and the student needs: when the generator moves, and who learns meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def ascents_before(turn: int, ascents: int, descents: int) -> range:
    """The generator's ascents right before the student's mini-batch `turn`, both counted from 0 over the training:
    `ascents` of them before the first of every `descents` mini-batches, none before the others."""
    if turn % descents:
        return range(0)
    first = turn // descents * ascents
    return range(first, first + ascents)


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
