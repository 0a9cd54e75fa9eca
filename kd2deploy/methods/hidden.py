"""Hidden states: chosen student layers imitate chosen teacher layers, through a linear map where widths differ.

Sources: Romero et al., "FitNets: Hints for Thin Deep Nets", 2015, arXiv:1412.6550 (a regressor on the student's side);
Sun et al., "Patient Knowledge Distillation for BERT Model Compression", 2019, arXiv:1908.09355 (many layers,
normalized, (1 - alpha) task + alpha soft + beta layers); Jiao et al., "TinyBERT", 2020, arXiv:1909.10351, equations 7
and 8 (mean squared error at every position, uniform map).
Departs from it: the mean over the pairs of layers is taken, not the sum, so that beta means the same at every depth;
all positions that count are compared, not the first alone as in Patient KD; the mean is taken over a row's positions
and then over the rows, so that padding adds nothing and a short row weighs as much as a long one, where a mean over the
whole tensor would count padding too; where the teacher's depth is no multiple of the student's, the uniform map takes
ceil(k * teacher / student). The default weights and temperature are ours; beta 0.1, because at 1, TinyBERT's, the
layers' loss outweighs the others while its maps are still random: a short training ends below one without a teacher.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kd2deploy.core import Method, Networks, Observation, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import OneOf, Share, Temperature, TermWeight
from kd2deploy.methods._maths import (
    TINY,
    mean_over_positions,
    need_hidden,
    need_one_of,
    need_same_positions,
    need_share,
    need_weight,
)
from kd2deploy.methods.logit import SoftTargets

Layers = Literal["uniform", "first", "last", "top"] | Sequence[Sequence[int]]
"""`uniform`: spread over the teacher; `first`, `last`: its first or last blocks, one per student block; `top`: the last
block of each alone; or pairs [student, teacher], where 0 is the embedding's output and k the k-th block."""
Distance = Literal["mse", "cosine"]
Compare = Literal["positions", "pooled"]
NAMED_MAPS = ("uniform", "first", "last", "top")
LayerMap = Annotated[Layers, OneOf(NAMED_MAPS)]


def layer_pairs(layers: Layers, student: int, teacher: int, method: str = "hidden") -> list[tuple[int, int]]:
    """Which student layer imitates which teacher layer, for networks of `student` and `teacher` blocks."""
    if isinstance(layers, str):
        return named_pairs(layers, student, teacher, method)
    pairs = []
    for place, pair in enumerate(layers):
        if len(pair) != 2:
            raise ValueError(f"{method}: layers[{place}] must be a pair [student, teacher], got {list(pair)}")
        for name, layer, last in (("student", pair[0], student), ("teacher", pair[1], teacher)):
            if not 0 <= layer <= last:
                raise ValueError(
                    f"{method}: layers[{place}]: the {name} has layers 0 (embedding) to {last}, got {layer}; "
                    "name one of these, or let uniform choose"
                )
        pairs.append((pair[0], pair[1]))
    return pairs


def named_pairs(name: str, student: int, teacher: int, method: str) -> list[tuple[int, int]]:
    blocks = range(1, student + 1)
    if name == "top":
        return [(student, teacher)]
    if name == "uniform":
        return [(block, -(-block * teacher // student)) for block in blocks]
    if teacher < student:
        raise ValueError(
            f"{method}: layers: {name!r} needs a teacher as deep as the student, which has {student} blocks; "
            f"the teacher has {teacher}. Use 'uniform', 'top' or pairs"
        )
    return [(block, block if name == "first" else teacher - student + block) for block in blocks]


def need_layers(layers: Layers) -> None:
    """An error where `layers` can be no map, whatever the networks are."""
    if isinstance(layers, str) and layers not in NAMED_MAPS:
        raise ValueError(f"layers must be one of {', '.join(NAMED_MAPS)}, or pairs [student, teacher], got {layers!r}")
    if not layers:
        raise ValueError("layers must hold at least one pair [student, teacher], got none")


def hidden_distance(
    student: Float[Tensor, "B L D"],
    teacher: Float[Tensor, "B L D"],
    mask: Bool[Tensor, "B L"] | None = None,
    distance: Distance = "mse",
) -> Float[Tensor, ""]:
    """`mse`: mean squared difference over features; `cosine`: 1 - cos, in 0..2, half of Patient KD's normalized squared
    distance. Mean over the positions that count, then over the batch."""
    if distance == "mse":
        each = (student - teacher).square().mean(-1)
    else:
        each = 1 - F.cosine_similarity(student, teacher, dim=-1, eps=TINY)
    return mean_over_positions(each, mask).mean()


class HiddenStates(Term):
    """Mean of `hidden_distance` over pairs of layers. `layer_map` holds the pairs once it is bound."""

    needs = frozenset({"teacher", "hidden"})

    def __init__(
        self,
        layers: Layers = "uniform",
        projection: Literal["auto", "always"] = "auto",
        distance: Distance = "mse",
        compare: Compare = "positions",
        view: str = "clean",
        method: str = "hidden",
    ) -> None:
        super().__init__()
        need_layers(layers)
        need_one_of(("auto", "always"), projection=projection)
        need_one_of(get_args(Distance), distance=distance)
        need_one_of(get_args(Compare), compare=compare)
        self.layers, self.projection, self.distance, self.compare = layers, projection, distance, compare
        self.view, self.views, self.method = view, (view,), method
        self.layer_map: list[tuple[int, int]] = []
        self.heads = nn.ModuleList()

    def bind(self, nets: Networks) -> None:
        student, teacher = need_hidden(nets, self.method)
        if self.compare == "positions":
            need_same_positions(nets, self.method)
        self.layer_map = layer_pairs(self.layers, student.blocks, teacher.blocks, self.method)
        for one, other in self.layer_map:
            wide, target = student.hidden[one], teacher.hidden[other]
            mapped = self.projection == "always" or wide != target
            self.heads.append(nn.Linear(wide, target) if mapped else nn.Identity())

    def mapped(self, student: Observation, pair: int) -> Float[Tensor, "B L D"]:
        """The student's hidden state of a pair of layers as it is compared: after its map."""
        found: Tensor = self.heads[pair](student.hidden[self.layer_map[pair][0]].float())
        return found.float()

    def top(self, student: Observation) -> Float[Tensor, "B L D"]:
        """`mapped` of the last pair."""
        return self.mapped(student, len(self.layer_map) - 1)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.student(self.view), step.teacher(self.view)
        mask, found = student.mask, []
        for pair, (one, other) in enumerate(self.layer_map):
            mine, theirs = self.mapped(student, pair), teacher.hidden[other].float()
            if self.compare == "pooled":  # one position a row, in place of many
                mine = mean_over_positions(mine, student.mask)[:, None]
                theirs = mean_over_positions(theirs, teacher.mask)[:, None]
                mask = None
            elif mine.shape[1] != theirs.shape[1]:
                raise ValueError(
                    f"layers: student layer {one} has {mine.shape[1]} positions and teacher layer {other} "
                    f"{theirs.shape[1]}; pair layers of one resolution, or set compare: pooled"
                )
            found.append(hidden_distance(mine, theirs, mask, self.distance))
        return torch.stack(found).mean()


def hidden(
    layers: LayerMap = "uniform",
    projection: Literal["auto", "always"] = "auto",
    distance: Distance = "mse",
    compare: Compare = "positions",
    alpha: Share = 0.9,
    beta: TermWeight = 0.1,
    temperature: Temperature = 1.0,
) -> Method:
    """(1 - alpha) * task loss + alpha * soft targets + beta * distance of hidden states.

    `projection`: a linear map on the student's side where widths differ (`auto`) or for every pair (`always`).
    `compare`: hidden states at each position, or their means over the positions (`pooled`), which also works between
    two tokenizers and between a convolutional network and a transformer.
    """
    need_share(alpha=alpha)
    need_weight(beta=beta)
    return Method(
        task=Weighted(TaskLoss(), 1 - alpha),
        soft=Weighted(SoftTargets(temperature, method="hidden"), alpha),
        hidden=Weighted(HiddenStates(layers, projection, distance, compare), beta),
    )
