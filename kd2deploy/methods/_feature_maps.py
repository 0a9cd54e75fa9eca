"""Feature maps of two detectors level by level, and what a method must know of both to compare them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Networks, Pair, Regions


def need_feature_maps(nets: Networks, method: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels of the student's and the teacher's maps, or an error where they cannot be compared level by level."""
    teacher = nets.need_teacher_sizes(method)
    student = nets.student_sizes
    for name, sizes in (("student", student), ("teacher", teacher)):
        if not sizes.features:
            raise ValueError(
                f"{method} compares feature maps of detectors, and the {name} shows none; use hidden, or logit"
            )
    if len(student.features) != len(teacher.features):
        raise ValueError(
            f"{method} compares feature maps level by level: the student has {len(student.features)} and the teacher "
            f"{len(teacher.features)}; give the student the teacher's architecture, or use detr_kd"
        )
    return student.features, teacher.features


def need_regions(found: Regions | None, method: str) -> Regions:
    """Where the labels of a batch say that things are, or an error where they do not."""
    if found is None:
        raise ValueError(f"{method} reads where things are, and the labels of this task do not tell; use mgd")
    return found


def squared_sum(one: Float[Tensor, "B D H W"], other: Float[Tensor, "B D H W"]) -> Float[Tensor, ""]:
    """Squared differences, summed over all elements, mean over the batch."""
    return (one - other).square().sum() / len(one)


class Alignment(nn.Module):
    """The student's maps made as wide as the teacher's, by a convolution, and as large, by interpolation."""

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        self.maps = nn.ModuleList(
            nn.Conv2d(own, other, 1) if own != other else nn.Identity()
            for own, other in zip(student, teacher, strict=True)
        )

    def forward(self, pair: Pair) -> list[tuple[Tensor, Tensor]]:
        """Student's and teacher's, [B, D, H, W] float32 each, level by level."""
        assert pair.teacher is not None
        found = []
        for convolution, own, other in zip(self.maps, pair.student.features, pair.teacher.features, strict=True):
            mine = convolution(own.float()).float()
            if mine.shape[-2:] != other.shape[-2:]:
                mine = F.interpolate(mine, size=other.shape[-2:], mode="bilinear", align_corners=False)
            found.append((mine, other.float()))
        return found


def summed(levels: Sequence[Tensor]) -> Float[Tensor, ""]:
    return torch.stack(list(levels)).sum()
