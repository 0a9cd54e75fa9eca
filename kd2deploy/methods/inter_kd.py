"""Inter-KD: heads on inner layers of the student learn the labels and the teacher's final posteriors, as its own does.

Source: Yoon et al., "Inter-KD: Intermediate Knowledge Distillation for CTC-Based Automatic Speech Recognition", 2022,
arXiv:2211.15075. With soft = 0 it is InterCTC (Lee and Watanabe, "Intermediate Loss Regularization for CTC-based Speech
Recognition", 2021, arXiv:2102.03216); with inter = 0 it is `ctc_frame_kd`.
Departs from it: no authors' code was found. The loss, (1 - inter) * [task + soft * D] + inter * mean over the heads of
the same, is from memory; D as in `ctc_frame_kd`. A survey tells of heads at layers 18, 24 and 30 of the 33 of the
paper's student, each with a weight of 0.25 (inter 0.75): the places are the same shares of the depth here, the weights
are ours. Heads are linear, one for each layer. Where there is one answer per row, a head reads the mean over the
positions.
"""

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Method, Networks, Progress, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import Between, TermWeight
from kd2deploy.core.step import answers_positions
from kd2deploy.methods._maths import (
    mean_over_positions,
    need_equal_classes,
    need_exclusive_classes,
    need_share,
    need_weight,
)
from kd2deploy.methods.ctc_frame_kd import Posteriors, mean_over_frames, posterior_distance, targets

PLACES = (18 / 33, 24 / 33, 30 / 33)
"""Where heads stand, as shares of the student's depth."""
Heads = Callable[[Step], Sequence[Tensor]]


def inner_layers(layers: Sequence[int] | None, blocks: int) -> list[int]:
    """The blocks, counted from 1, whose output a head reads: never the last, which the student's own head reads."""
    if blocks < 2:
        raise ValueError(
            f"inter_kd puts heads on layers below the last, and the student has {blocks}; use ctc_frame_kd, or a "
            "student of 2 blocks or more"
        )
    if layers is None:
        return sorted({min(blocks - 1, max(1, round(share * blocks))) for share in PLACES})
    found = [int(layer) for layer in layers]
    if not found or len(set(found)) < len(found) or not all(1 <= layer < blocks for layer in found):
        raise ValueError(
            f"inter_kd: layers must be different blocks of 1 to {blocks - 1} (the last, {blocks}, has the student's "
            f"own head), got {found}"
        )
    return sorted(found)


class Branches(Term):
    """The mean over inner layers of the task's own loss of their heads. It holds the heads."""

    needs = frozenset({"hidden", "labels", "logits"})

    def __init__(self, layers: Sequence[int] | None = None) -> None:
        super().__init__()
        self.layers = layers
        self.read: list[int] = []
        self.heads = nn.ModuleList()
        self.last: tuple[Step, list[Tensor]] | None = None

    def bind(self, nets: Networks) -> None:
        need_exclusive_classes(nets, "inter_kd")
        sizes = nets.student_sizes
        self.task = nets.task
        self.read = inner_layers(self.layers, sizes.blocks)
        self.heads.extend(nn.Linear(sizes.hidden[layer], sizes.classes) for layer in self.read)

    def tick(self, progress: Progress) -> None:
        self.last = None

    def answers(self, step: Step) -> list[Tensor]:
        """Each head's logits, shaped as the student's own; they are computed once for all terms."""
        if self.last is None or self.last[0] is not step:
            seen = step.student()
            states = [seen.hidden[layer].float() for layer in self.read]
            if not answers_positions(seen):
                states = [mean_over_positions(each, seen.mask) for each in states]
            self.last = step, [head(each).float() for head, each in zip(self.heads, states, strict=True)]
        return self.last[1]

    def forward(self, step: Step) -> Float[Tensor, ""]:
        seen, labels = step.student(), step.pairs["clean"].look.student["labels"]
        losses = [self.task.networks.loss_of(answer, seen, labels) for answer in self.answers(step)]
        return torch.stack(losses).mean()


class BranchPosteriors(Term):
    """The mean over inner layers of their heads' distance to the teacher's final posteriors."""

    needs = frozenset({"teacher", "hidden", "logits"})

    def __init__(self, heads: Heads) -> None:
        super().__init__()
        self.answers = heads

    def bind(self, nets: Networks) -> None:
        need_equal_classes(nets, "inter_kd")

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student = step.student()
        mask = student.mask if answers_positions(student) else None
        wanted = targets(student, step.teacher())
        each = [mean_over_frames(posterior_distance(answer, wanted), mask) for answer in self.answers(step)]
        return torch.stack(each).mean()


def inter_kd(
    layers: Sequence[int] | None = None, soft: TermWeight = 1.0, inter: Annotated[float, Between(0.1, 0.9)] = 0.5
) -> Method:
    """(1 - inter) * [task loss + soft * distance] + inter * the same, mean over heads on inner layers.

    `layers`: the student's blocks that a head reads, counted from 1. The heads are trained, and never deployed.
    """
    need_share(inter=inter)
    need_weight(soft=soft)
    if inter == 1:
        raise ValueError("inter must be below 1, or the student's own head would learn nothing")
    branches = Branches(layers)
    terms = {"task": Weighted(TaskLoss(), 1 - inter)}
    if inter:
        terms["branches"] = Weighted(branches, inter)
    if soft:
        terms["frames"] = Weighted(Posteriors("inter_kd"), (1 - inter) * soft)
    if inter and soft:
        terms["branch_frames"] = Weighted(BranchPosteriors(branches.answers), inter * soft)
    return Method(**terms)
