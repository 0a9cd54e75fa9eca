"""MGD: the student's feature maps with most places masked must suffice to generate the teacher's whole maps.

Source: Yang et al., "Masked Generative Distillation", ECCV 2022, arXiv:2205.01529, and the authors' code for
detectors: two convolutions of 3 x 3 with a ReLU between them; a mask of places drawn anew for every batch, the same
for all channels; squared error summed over a map, mean over the batch; alpha 0.00002, ratio 0.65.
Departs from it: maps of different sizes are interpolated to the teacher's. The weight is of a sum over a map, so it
is theirs for pictures of about 1333 x 800 pixels.
"""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Method, Networks, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import Between, TermWeight
from kd2deploy.methods._feature_maps import Alignment, need_feature_maps, squared_sum, summed
from kd2deploy.methods._maths import need_share, need_weight


def kept_places(features: Float[Tensor, "B D H W"], ratio: float) -> Float[Tensor, "B 1 H W"]:
    """0 at places that are masked, each with probability `ratio`, and 1 at the others."""
    drawn = torch.rand((len(features), 1, *features.shape[-2:]), device=features.device)
    return (drawn <= 1 - ratio).to(features.dtype)


def generation(channels: int) -> nn.Module:
    """What fills the masked places in."""
    first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
    return nn.Sequential(first, nn.ReLU(), second)


def generated_distance(
    student: Float[Tensor, "B D H W"],
    teacher: Float[Tensor, "B D H W"],
    kept: Float[Tensor, "B 1 H W"],
    made: nn.Module,
) -> Float[Tensor, ""]:
    """Squared error of what is made of the student's kept places, summed over the map, mean over the batch."""
    return squared_sum(made(student * kept).float(), teacher)


class Generated(Term):
    """Squared error of the maps that are generated of the student's, summed over a map and over the levels."""

    needs = frozenset({"teacher", "features"})

    def __init__(self, ratio: float = 0.65, view: str = "clean", method: str = "mgd") -> None:
        super().__init__()
        need_share(ratio=ratio)
        self.ratio, self.view, self.views, self.method = ratio, view, (view,), method

    def bind(self, nets: Networks) -> None:
        student, teacher = need_feature_maps(nets, self.method)
        self.alignment = Alignment(student, teacher)
        self.generations = nn.ModuleList(map(generation, teacher))

    def forward(self, step: Step) -> Float[Tensor, ""]:
        levels = zip(self.generations, self.alignment(step.pairs[self.view]), strict=True)
        return summed(
            [generated_distance(own, other, kept_places(own, self.ratio), made) for made, (own, other) in levels]
        )


def mgd(alpha: TermWeight = 2e-5, ratio: Annotated[float, Between(0.2, 0.8)] = 0.65) -> Method:
    """task loss + alpha * squared error of the teacher's maps and those generated of the student's masked ones.

    `ratio`: probability that a place is masked.
    """
    need_weight(alpha=alpha)
    return Method(task=Weighted(TaskLoss()), features=Weighted(Generated(ratio), alpha))
