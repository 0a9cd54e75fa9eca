"""FGD: feature maps of detectors, apart where objects are and where none is, and with what each map tells as a whole.

Source: Yang et al., "Focal and Global Knowledge Distillation for Detectors", CVPR 2022, arXiv:2111.11837, and the
authors' code: foreground and background, each weighed by the teacher's spatial and channel attention (temperature
0.5); the distance of the attentions; the distance of the maps with their global context (GCNet's block, one for each
network, both trained). Weights for RetinaNet as in the code of Liang et al., arXiv:2209.09841: alpha 0.001, beta and
gamma 0.0005, lambda 0.000005; the names are ours.
Departs from it: maps of different sizes are interpolated to the teacher's. A row without a label is all background.
All weights are of sums over a map, so they are theirs for pictures of about 1333 x 800 pixels.
"""

from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Method, Networks, Regions, Step, TaskLoss, TaskNetworks, Term, Weighted
from kd2deploy.core.search import Around, TermWeight
from kd2deploy.methods._feature_maps import Alignment, need_feature_maps, need_regions, squared_sum, summed
from kd2deploy.methods._maths import need_positive, need_weight


class Weights(NamedTuple):
    foreground: float = 1e-3
    background: float = 5e-4
    attention: float = 5e-4
    context: float = 5e-6


# mathematics ----------------------------------------------------------------------------------------------------


def attentions(
    features: Float[Tensor, "B D H W"], temperature: float
) -> tuple[Float[Tensor, "B H W"], Float[Tensor, "B D"]]:
    """Spatial attention, of mean 1 over the places, and channel attention, of mean 1 over the channels: a softmax of
    the mean absolute activation at `temperature`, times how many there are."""
    strength = features.abs()
    height, width = features.shape[-2:]
    places = F.softmax(strength.mean(1).flatten(1) / temperature, dim=-1) * (height * width)
    channels = F.softmax(strength.mean((2, 3)) / temperature, dim=-1) * features.shape[1]
    return places.reshape(-1, height, width), channels


def scale_masks(
    regions: Regions, height: int, width: int
) -> tuple[Float[Tensor, "B {height} {width}"], Float[Tensor, "B {height} {width}"]]:
    """Foreground and background. In a box each place counts one over the box's places, so that large objects count as
    much as small ones, and where boxes overlap the smaller one's; outside of all, one over the places outside."""
    left, top, right, bottom = (regions.boxes * regions.boxes.new_tensor([width, height, width, height])).unbind(-1)
    first, last = (left.floor(), top.floor()), (right.ceil(), bottom.ceil())  # both belong to it, as in their code
    columns = between(torch.arange(width, device=left.device), first[0], last[0])[:, :, None, :]
    lines = between(torch.arange(height, device=left.device), first[1], last[1])[:, :, :, None]
    inside = columns & lines & regions.there[..., None, None]
    share = 1 / ((last[0] + 1 - first[0]) * (last[1] + 1 - first[1]))
    nothing = share.new_zeros(len(share), 1, height, width)  # so that there is a largest where nothing is
    foreground = torch.cat([nothing, inside * share[..., None, None]], 1).amax(1)
    outside = (foreground == 0).to(foreground.dtype)
    return foreground, outside / outside.sum((1, 2), keepdim=True).clamp(min=1)


def between(places: Tensor, first: Float[Tensor, "B T"], last: Float[Tensor, "B T"]) -> Tensor:
    """[B, T, places] bool: which lie in first..last, both included."""
    return (places >= first[..., None]) & (places <= last[..., None])


def focal_distance(
    student: Float[Tensor, "B D H W"],
    teacher: Float[Tensor, "B D H W"],
    mask: Float[Tensor, "B H W"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Squared differences weighed by a mask and the teacher's attentions, summed over a map, mean over the batch."""
    places, channels = attentions(teacher, temperature)
    weight = (mask * places)[:, None] * channels[..., None, None]
    return (weight * (student - teacher).square()).sum() / len(student)


def attention_distance(
    student: Float[Tensor, "B D H W"], teacher: Float[Tensor, "B D H W"], temperature: float
) -> Float[Tensor, ""]:
    """Absolute differences of both attentions, summed over places and channels, mean over the batch."""
    pairs = zip(attentions(student, temperature), attentions(teacher, temperature), strict=True)
    return summed([(own - other).abs().sum() / len(student) for own, other in pairs])


# the term -------------------------------------------------------------------------------------------------------


class GlobalContext(nn.Module):
    """A map with what it tells as a whole added at every place: the block of GCNet (Cao et al., arXiv:1904.11492).

    It adds nothing at first, for its last layer begins at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.looks = nn.Conv2d(channels, 1, 1)
        self.adds = nn.Sequential(
            nn.Conv2d(channels, inner, 1), nn.LayerNorm([inner, 1, 1]), nn.ReLU(), nn.Conv2d(inner, channels, 1)
        )
        nn.init.kaiming_normal_(self.looks.weight, mode="fan_in", nonlinearity="relu")
        last = self.adds[-1]
        assert isinstance(last, nn.Conv2d)
        for begins_at_0 in (self.looks.bias, last.weight, last.bias):
            assert begins_at_0 is not None
            nn.init.zeros_(begins_at_0)

    def forward(self, features: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        weights = F.softmax(self.looks(features).flatten(2), dim=-1)
        context = features.flatten(2) @ weights.transpose(1, 2)
        found: Tensor = features + self.adds(context[..., None])
        return found


class FocalAndGlobal(Term):
    """The weighted sum of the four distances, summed over the levels."""

    needs = frozenset({"teacher", "features", "labels"})

    def __init__(self, weights: Weights, temperature: float = 0.5, view: str = "clean", method: str = "fgd") -> None:
        super().__init__()
        need_weight(**weights._asdict())
        need_positive(temperature=temperature)
        self.weights, self.temperature = weights, temperature
        self.view, self.views, self.method = view, (view,), method

    def bind(self, nets: Networks) -> None:
        student, teacher = need_feature_maps(nets, self.method)
        self.kind: tuple[TaskNetworks, ...] = (nets.task.networks,)
        self.alignment = Alignment(student, teacher)
        self.contexts = nn.ModuleList(nn.ModuleList(map(GlobalContext, teacher)) for _ in ("student", "teacher"))

    def forward(self, step: Step) -> Float[Tensor, ""]:
        pair = step.pairs[self.view]
        regions = need_regions(self.kind[0].regions(pair.look.student), self.method)
        levels = enumerate(self.alignment(pair))
        return summed([self.distance(level, student, teacher, regions) for level, (student, teacher) in levels])

    def distance(self, level: int, student: Tensor, teacher: Tensor, regions: Regions) -> Tensor:
        foreground, background = scale_masks(regions, *teacher.shape[-2:])
        contexts: list[Tensor] = []
        for blocks, features in zip(self.contexts, (student, teacher), strict=True):
            assert isinstance(blocks, nn.ModuleList)
            contexts.append(blocks[level](features))
        return (
            self.weights.foreground * focal_distance(student, teacher, foreground, self.temperature)
            + self.weights.background * focal_distance(student, teacher, background, self.temperature)
            + self.weights.attention * attention_distance(student, teacher, self.temperature)
            + self.weights.context * squared_sum(contexts[0], contexts[1])
        )


def fgd(
    foreground: TermWeight = 1e-3,
    background: TermWeight = 5e-4,
    attention: TermWeight = 5e-4,
    context: TermWeight = 5e-6,
    temperature: Annotated[float, Around(2.0)] = 0.5,
) -> Method:
    """task loss + foreground * features in boxes + background * features outside + attention * attentions
    + context * features with their global context; sums over a map, and over the levels.

    The weights are the source's alpha, beta, gamma and lambda.
    """
    features = FocalAndGlobal(Weights(foreground, background, attention, context), temperature)
    return Method(task=Weighted(TaskLoss()), features=Weighted(features))
