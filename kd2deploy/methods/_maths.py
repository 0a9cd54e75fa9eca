"""Mathematics that several methods share: reductions over what counts, distances, schedules, checks of arguments."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from kd2deploy.core import Networks, Sizes
from kd2deploy.core.figures import count_of

TINY = 1e-8
"""Keeps a norm, a standard deviation or a probability from being exactly zero; far below float32's resolution of 1."""


# reductions and distances ---------------------------------------------------------------------------------------


def mean_over_positions(
    values: Float[Tensor, "B L *D"], mask: Bool[Tensor, "B L"] | None = None
) -> Float[Tensor, "B *D"]:
    """Mean over the positions that count, per row; all count where there is no mask. A row without any gives 0."""
    if mask is None:
        return values.mean(1)
    counts = mask.reshape(*mask.shape, *(1 for _ in values.shape[2:]))
    return values.masked_fill(~counts, 0).sum(1) / counts.sum(1).clamp(min=1)


def normalized(vectors: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """Vectors of length 1 along the last axis; a zero vector stays zero."""
    return F.normalize(vectors, dim=-1, eps=TINY)


def products(one: Float[Tensor, "B D"], other: Float[Tensor, "K D"]) -> Float[Tensor, "B K"]:
    """Every row of the one times every row of the other, in full precision under autocast too: what is divided by a
    small temperature and exponentiated cannot be rounded first."""
    with torch.autocast(one.device.type, enabled=False):
        return one @ other.T


def squared_distance(one: Float[Tensor, "*B D"], other: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
    """|one - other|^2, summed over the last axis. For vectors of length 1 it is 2 - 2 cos, in 0..4."""
    return (one - other).square().sum(-1)


def probability_kl(student: Float[Tensor, "*B C"], teacher: Float[Tensor, "*B C"]) -> Float[Tensor, "*B"]:
    """KL(teacher || student) in nats of distributions given as probabilities; zeros are allowed in both."""
    return torch.xlogy(teacher, teacher).sum(-1) - (teacher * student.clamp(min=TINY).log()).sum(-1)


def pearson(one: Float[Tensor, "*B D"], other: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
    """Pearson's correlation over the last axis, -1..1; 0 where either side is constant."""
    one, other = one - one.mean(-1, keepdim=True), other - other.mean(-1, keepdim=True)
    return F.cosine_similarity(one, other, dim=-1, eps=TINY)


# schedules ------------------------------------------------------------------------------------------------------


def annealing_factor(epoch: int, epochs: float | int, t_max: int) -> float:
    """phi = 1 - (T - 1) / t_max, rising by 1 / t_max every floor(epochs / t_max) epochs, from 1 / t_max to 1.

    `epoch` counts from 0. T starts at t_max and is held at 1, so phi is never above 1. Where there are fewer epochs
    than t_max, one step is taken per epoch: phi runs from 1 / epochs to 1.
    """
    whole = max(1, math.ceil(epochs))
    t_max = min(t_max, whole)
    temperature = max(1, t_max - epoch // (whole // t_max))
    return 1 - (temperature - 1) / t_max


def phase_epochs(until: float, epochs: float) -> int:
    """Whole epochs of a first phase that ends at the share `until` of the training.

    At least one, and at least one is left for what follows, unless there is but one or the share is 1. A last epoch
    that is cut short counts as one.
    """
    whole = max(1, math.ceil(epochs))
    if until == 1:
        return whole
    return min(max(1, round(until * epochs)), max(1, whole - 1))


# checks of arguments --------------------------------------------------------------------------------------------


def need_positive(**values: float | int) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")


def need_weight(**values: float | int) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be 0 or more and finite, got {value}")


def need_share(**values: float | int) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in 0..1, got {value}")


def need_one_of(accepted: Sequence[object], **values: object) -> None:
    for name, value in values.items():
        if value not in accepted:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, accepted))}, got {value!r}")


def need_sum_of_one(**weights: float | int) -> None:
    need_share(**weights)
    if not math.isclose(math.fsum(weights.values()), 1, abs_tol=1e-6):
        given = ", ".join(f"{name} = {value:g}" for name, value in weights.items())
        raise ValueError(
            f"{', '.join(weights)} must sum to 1, got {given} (sum {math.fsum(weights.values()):g}); set all of them, "
            "or none for the defaults"
        )


def need_hidden(nets: Networks, method: str) -> tuple[Sizes, Sizes]:
    """Student's and teacher's sizes where both show hidden states, or an error that says what to use instead."""
    teacher = nets.need_teacher_sizes(method)
    for name, sizes in (("student", nets.student_sizes), ("teacher", teacher)):
        if sizes.blocks < 1:
            raise ValueError(
                f"{method} compares hidden states, and the {name} gives {'logits only' if not sizes.hidden else 'none'}"
                "; use a method that reads logits (logit, dkd, dist), or another teacher"
            )
    return nets.student_sizes, teacher


def need_embeddings(nets: Networks, method: str) -> tuple[int, int]:
    """Widths of the student's and the teacher's embeddings, or an error where one gives none."""
    teacher = nets.need_teacher_sizes(method)
    for name, width in (("student", nets.student_sizes.embedding), ("teacher", teacher.embedding)):
        if width < 1:
            raise ValueError(
                f"{method} compares embeddings, and the {name} gives none; use logit, or hidden where there are hidden "
                "states"
            )
    return nets.student_sizes.embedding, teacher.embedding


def need_same_positions(nets: Networks, method: str) -> None:
    """An error where the two networks' hidden states are not of the same positions."""
    student, teacher = need_hidden(nets, method)
    if not nets.shares_inputs or student.positions != teacher.positions:
        raise ValueError(
            f"{method} compares positions one by one: the student has {student.positions}, the teacher "
            f"{teacher.positions}, of {'the same' if nets.shares_inputs else 'different'} inputs; "
            "use rail_kd, or hidden with compare: pooled"
        )


def need_classes(nets: Networks, method: str, least: int) -> None:
    """An error where there are fewer than `least` classes to compare."""
    if nets.student_sizes.classes < least:
        raise ValueError(
            f"{method} needs {least} classes or more, and the student has {nets.student_sizes.classes}; "
            "use logit (2 classes) or continuation_kd (any output, regression too)"
        )


def need_equal_classes(nets: Networks, method: str) -> None:
    """An error where the two networks' answers have different widths."""
    teacher = nets.need_teacher_sizes(method)
    student = nets.student_sizes
    if teacher.classes != student.classes:
        raise ValueError(
            f"{method} compares logits: the student has {count_of(student.classes, 'class', 'classes')} and the "
            f"teacher {teacher.classes}; give the student the teacher's labels, or use hidden or contrastive"
        )
    if teacher.values != student.values:
        raise ValueError(
            f"{method} compares values: the student has {student.values} and the teacher {teacher.values}; "
            "give both the same number of outputs"
        )


def need_one_answer_per_row(nets: Networks, method: str) -> None:
    """An error where the logits are not [B, C], so that a row has no one label."""
    axes = next((port.axes for port in nets.task.outputs if port.name == "logits"), ())
    if len(axes) != 2:
        raise ValueError(
            f"{method} needs one label per row, and this task's logits have the axes {list(axes)}; use logit or dist"
        )


def need_exclusive_classes(nets: Networks, method: str) -> None:
    """An error where each label is a yes or no of its own, so that there is no distribution over classes."""
    if nets.student_sizes.per_label:
        raise ValueError(
            f"{method} compares classes that exclude each other, and a row of this task may have several labels; use "
            "logit, which softens each label by itself, or continuation_kd, mix_kd or hidden"
        )


def need_same_classes(nets: Networks, method: str, least: int = 2) -> None:
    """An error unless both networks have the same classes, `least` or more, of which a row has just one."""
    need_exclusive_classes(nets, method)
    need_equal_classes(nets, method)
    need_classes(nets, method, least=least)
