"""Where the networks look: normalized maps of activation strength, or the last block's relations between positions.

Sources: Zagoruyko, Komodakis, "Paying More Attention to Attention", ICLR 2017, arXiv:1612.03928, section 3.1 (`maps`);
Wang et al., "MiniLM: Deep Self-Attention Distillation", 2020, arXiv:2002.10957, section 3 (`relations`).
Departs from it: `maps`: the squared distance, mean over the pairs of layers; resolutions are not interpolated.
`relations`: an observation holds no values, so there is no relation of the values; the relation of the last hidden
states, which may stand in for it, has a weight of its own, 0 by default, for in short trainings it costs more than it
brings: ours. Where the networks have different numbers of heads, the attention is averaged over heads first. Beta 1 is
ours.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from kd2deploy.core import Method, Networks, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import TermWeight
from kd2deploy.methods._maths import (
    mean_over_positions,
    need_hidden,
    need_one_of,
    need_same_positions,
    need_weight,
    normalized,
    probability_kl,
    squared_distance,
)
from kd2deploy.methods.hidden import LayerMap, Layers, layer_pairs, need_layers


def activation_map(hidden: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"] | None) -> Float[Tensor, "B L"]:
    """Mean squared activation at each position that counts, as a vector of length 1; 0 elsewhere."""
    strength = hidden.square().mean(-1)
    return normalized(strength if mask is None else strength.masked_fill(~mask, 0))


def relation_kl(
    student: Float[Tensor, "B S L L"], teacher: Float[Tensor, "B T L L"], mask: Bool[Tensor, "B L"] | None
) -> Float[Tensor, "B"]:
    """KL(teacher || student) in nats between rows of attention; mean over heads and over the positions that count."""
    if student.shape[1] != teacher.shape[1]:
        student, teacher = student.mean(1, keepdim=True), teacher.mean(1, keepdim=True)
    return mean_over_positions(probability_kl(student, teacher).mean(1), mask)


def state_relation(hidden: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"] | None) -> Float[Tensor, "B 1 L L"]:
    """softmax(H H^T / sqrt(D)) over the positions that count."""
    scores = hidden @ hidden.transpose(-1, -2) / hidden.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None], -torch.inf)
    return F.softmax(scores, dim=-1)[:, None]


class ActivationMaps(Term):
    """Squared distance of the activation maps, mean over pairs of layers. `layer_map` holds them once it is bound."""

    needs = frozenset({"teacher", "hidden"})

    def __init__(self, layers: Layers = "uniform") -> None:
        super().__init__()
        need_layers(layers)
        self.layers = layers
        self.layer_map: list[tuple[int, int]] = []

    def bind(self, nets: Networks) -> None:
        need_same_positions(nets, "attention")
        student, teacher = need_hidden(nets, "attention")
        self.layer_map = layer_pairs(self.layers, student.blocks, teacher.blocks, "attention")

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.student(), step.teacher()
        found = []
        for one, other in self.layer_map:
            mine = activation_map(student.hidden[one].float(), student.mask)
            theirs = activation_map(teacher.hidden[other].float(), teacher.mask)
            if mine.shape != theirs.shape:
                raise ValueError(
                    f"layers: student layer {one} has {mine.shape[1]} positions and teacher layer {other} "
                    f"{theirs.shape[1]}; pair layers of one resolution"
                )
            found.append(squared_distance(mine, theirs).mean())
        return torch.stack(found).mean()


class AttentionRelations(Term):
    """`relation_kl` of the two networks' last attentions in one view, mean over the batch."""

    needs = frozenset({"teacher", "attentions"})

    def __init__(self, view: str = "clean", method: str = "attention") -> None:
        super().__init__()
        self.view, self.views, self.method = view, (view,), method

    def bind(self, nets: Networks) -> None:
        need_same_positions(nets, self.method)
        teacher = nets.need_teacher_sizes(self.method)
        for name, sizes in (("student", nets.student_sizes), ("teacher", teacher)):
            if not sizes.heads:
                raise ValueError(
                    f"{self.method} compares self-attentions, and the {name} has none; use hidden, or attention with "
                    "kind: maps"
                )

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.student(self.view), step.teacher(self.view)
        return relation_kl(student.attentions[-1].float(), teacher.attentions[-1].float(), student.mask).mean()


class StateRelations(Term):
    """`relation_kl` of the relations of the two networks' last hidden states, of any width, mean over the batch."""

    needs = frozenset({"teacher", "hidden"})

    def bind(self, nets: Networks) -> None:
        need_same_positions(nets, "attention")

    def forward(self, step: Step) -> Float[Tensor, ""]:
        mine, theirs = (state_relation(seen.hidden[-1].float(), seen.mask) for seen in (step.student(), step.teacher()))
        return relation_kl(mine, theirs, step.student().mask).mean()


def attention(
    kind: Literal["maps", "relations"] = "maps",
    layers: LayerMap = "uniform",
    beta: TermWeight = 1.0,
    states: TermWeight = 0.0,
) -> Method:
    """task loss + beta * distance of what the two networks attend to.

    `maps`: the strength of the activations at each position, for any network, over `layers`. `relations`: the last
    block's self-attention, for transformers, + `states` * the relations of its outputs; `layers` is not read.
    """
    need_one_of(("maps", "relations"), kind=kind)
    need_weight(beta=beta, states=states)
    if kind == "maps":
        return Method(task=Weighted(TaskLoss()), maps=Weighted(ActivationMaps(layers), beta))
    terms = {"task": Weighted(TaskLoss()), "attention": Weighted(AttentionRelations(), beta)}
    if states:
        terms["states"] = Weighted(StateRelations(), states)
    return Method(**terms)
