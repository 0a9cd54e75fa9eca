"""RAIL-KD: the student's layers imitate teacher layers that are drawn anew, at random, at the start of every epoch.

Source: Haidar, Anchuri, Rezagholizadeh, Ghaddar, Langlais, Poupart, "RAIL-KD: RAndom Intermediate Layer Mapping for
Knowledge Distillation", Findings of NAACL 2022, arXiv:2109.10164, section 3.
Departs from it: the sentence vector is the mean over the positions that are no padding; every teacher block may be
drawn, the last one too; the distance is squared; the maps are without bias, so that scaling a hidden state changes
nothing; the teacher's map belongs to the place in the pairing, not to the drawn layer, so that every map is trained in
every step; the layers' weights are 1 / m each. The width 128, the three equal weights and the temperature are ours.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Method, Networks, Observation, Progress, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import Temperature, WholePart
from kd2deploy.methods._maths import (
    mean_over_positions,
    need_hidden,
    need_one_of,
    need_positive,
    need_sum_of_one,
    normalized,
    squared_distance,
)
from kd2deploy.methods.logit import SoftTargets


def drawn_layers(teacher_blocks: int, student_blocks: int, seed: int, epoch: int) -> list[int]:
    """As many of the teacher's blocks (1..n) as the student has: distinct, ascending, set by seed and epoch."""
    generator = torch.Generator().manual_seed(seed + epoch)
    drawn = torch.randperm(teacher_blocks, generator=generator)[:student_blocks]
    return sorted(int(block) + 1 for block in drawn)


def projected_distance(
    student: Float[Tensor, "B S"], teacher: Float[Tensor, "B T"], of_student: nn.Module, of_teacher: nn.Module
) -> Float[Tensor, ""]:
    """Squared distance, in 0..4, of the two vectors after each one's map and normalization; mean over the batch."""
    mine, theirs = of_student(student).float(), of_teacher(teacher).float()
    return squared_distance(normalized(mine), normalized(theirs)).mean()


def pooled(seen: Observation, layers: list[int]) -> list[Tensor]:
    """The sentence vectors [B, D] of these layers."""
    return [mean_over_positions(seen.hidden[layer].float(), seen.mask) for layer in layers]


class RandomLayers(Term):
    """Distance of the student's blocks to the teacher's blocks of this epoch's draw, which `drawn` holds in pairs."""

    needs = frozenset({"teacher", "hidden"})
    seed: Tensor

    def __init__(self, variant: Literal["layer", "concatenated"] = "layer", dim: int = 128) -> None:
        super().__init__()
        need_one_of(("layer", "concatenated"), variant=variant)
        need_positive(dim=dim)
        self.variant, self.dim = variant, dim
        self.drawn: list[tuple[int, int]] = []
        self.epoch: int | None = None
        self.of_student, self.of_teacher = nn.ModuleList(), nn.ModuleList()

    def bind(self, nets: Networks) -> None:
        student, teacher = need_hidden(nets, "rail_kd")
        if teacher.blocks < student.blocks:
            raise ValueError(
                f"rail_kd draws as many teacher blocks as the student has ({student.blocks}), and the teacher has "
                f"{teacher.blocks}; take a shallower student, or hidden with layers: uniform"
            )
        if len(set(teacher.hidden[1:])) > 1:
            raise ValueError(
                f"rail_kd needs teacher blocks of one width, got {list(teacher.hidden[1:])}; "
                "use hidden, which pairs layers of any width"
            )
        self.student_blocks, self.teacher_blocks = student.blocks, teacher.blocks
        # A buffer, so that a resumed run draws what the interrupted one would have; DDP hands rank 0's to all ranks.
        self.register_buffer("seed", torch.randint(2**31, ()))
        one_side, other_side = student.hidden[1:], teacher.hidden[1 : student.blocks + 1]
        if self.variant == "concatenated":
            one_side, other_side = (sum(one_side),), (sum(other_side),)
        self.of_student.extend(nn.Linear(width, self.dim, bias=False) for width in one_side)
        self.of_teacher.extend(nn.Linear(width, self.dim, bias=False) for width in other_side)

    def tick(self, progress: Progress) -> None:
        epoch = int(progress.epoch)
        if epoch != self.epoch:
            drawn = drawn_layers(self.teacher_blocks, self.student_blocks, int(self.seed), epoch)
            self.epoch, self.drawn = epoch, list(enumerate(drawn, start=1))

    def forward(self, step: Step) -> Float[Tensor, ""]:
        students = pooled(step.student(), [one for one, _ in self.drawn])
        teachers = pooled(step.teacher(), [other for _, other in self.drawn])
        if self.variant == "concatenated":
            students, teachers = [torch.cat(students, dim=-1)], [torch.cat(teachers, dim=-1)]
        sides = zip(students, teachers, self.of_student, self.of_teacher, strict=True)
        return torch.stack([projected_distance(*each) for each in sides]).mean()


def rail_kd(
    variant: Literal["layer", "concatenated"] = "layer",
    dim: int = 128,
    task: WholePart = 1 / 3,
    soft: WholePart = 1 / 3,
    rail: WholePart = 1 / 3,
    temperature: Temperature = 4.0,
) -> Method:
    """task * task loss + soft * soft targets + rail * distance to random layers; the three weights sum to 1.

    `variant`: `layer` compares pair by pair, each with its own maps; `concatenated` all layers at once, one map a side.
    """
    need_sum_of_one(task=task, soft=soft, rail=rail)
    return Method(
        task=Weighted(TaskLoss(), task),
        soft=Weighted(SoftTargets(temperature, method="rail_kd"), soft),
        rail=Weighted(RandomLayers(variant, dim), rail),
    )
