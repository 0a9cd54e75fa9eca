"""Two networks layer by layer: what each layer shows of a row, and what both would show with other weights.

Source: Yang, An, Zhou, Zhuang, Xu, Zhang, "Online Knowledge Distillation via Mutual Contrastive Learning for Visual
Recognition", TPAMI 2023, arXiv:2207.11518.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Batch, Observation
from kd2deploy.core.step import embedding_of
from kd2deploy.methods._maths import mean_over_positions, normalized

SHOWN = frozenset({"hidden", "embedding"})
"""What a network is asked to show for it."""


class Seen(NamedTuple):
    """What both networks, the student first, show of a batch."""

    observations: Sequence[Observation]
    features: Sequence[Sequence[Tensor]]
    """By network and layer, [B, D]."""
    vectors: Sequence[Sequence[Tensor]]
    """The same after each layer's head, of length 1."""


def levels_of(blocks: int, levels: int) -> tuple[int, ...]:
    """The blocks whose states are the early layers, at equal distances: 1 and 2 of three blocks for three levels."""
    early = [math.ceil(blocks * level / levels) for level in range(1, levels)]
    return tuple(sorted({block for block in early if 0 < block < blocks}))


def features_of(seen: Observation, blocks: Sequence[int]) -> list[Float[Tensor, "B _"]]:
    """What each layer shows of each row: the early ones' states, mean over the positions, and the embedding."""
    return [*(mean_over_positions(seen.hidden[block].float(), seen.mask) for block in blocks), embedding_of(seen)]


def through(layers: nn.Module, features: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """Each layer's features after its own module, of length 1; the modules are lists of lists, by network and layer."""
    return [
        [normalized(module(one).float()) for module, one in zip(own.children(), shown, strict=True)]
        for own, shown in zip(layers.children(), features, strict=True)
    ]


def seen_by(found: Sequence[Observation], heads: nn.Module, blocks: Sequence[int]) -> Seen:
    features = [features_of(one, blocks) for one in found]
    return Seen(found, features, through(heads, features))


def for_each(widths: Sequence[int], dim: int, hidden: bool) -> nn.ModuleList:
    """A linear map to `dim` values for every layer of both networks, with a hidden layer as wide where it has one."""

    def made(width: int) -> nn.Module:
        last = nn.Linear(dim if hidden else width, dim)
        return nn.Sequential(nn.Linear(width, dim), nn.ReLU(), last) if hidden else last

    return nn.ModuleList(nn.ModuleList(map(made, widths)) for _ in range(2))


class Both(nn.Module):
    """Both networks and their layers' heads as one module, so that other weights can be put in their places."""

    def __init__(self, observe: Callable[..., Observation], networks: Sequence[nn.Module], heads: nn.Module) -> None:
        super().__init__()
        self.observe, self.networks, self.heads = observe, nn.ModuleList(networks), heads

    def forward(self, shown: Batch, blocks: Sequence[int]) -> Seen:
        return seen_by([self.observe(net, shown, needs=SHOWN) for net in self.networks], self.heads, blocks)


def stepped(loss: Tensor, weights: Mapping[str, Tensor], rate: float) -> dict[str, Tensor]:
    """Weights one plain step down a loss, in the graph: what comes of them can be traced back through the step."""
    gradients = torch.autograd.grad(loss, tuple(weights.values()), create_graph=True, allow_unused=True)
    return {
        name: weight if gradient is None else weight - rate * gradient
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }
