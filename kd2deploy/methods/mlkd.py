"""MLKD: the student's features align with the teacher's, relate rows and their turns as it does, and group by label.

Source: Ding, Yang, Hu, Krovi, Luo, "Multi-level Knowledge Distillation via Knowledge Alignment and Correlation",
arXiv:2012.00573; in TNNLS 2024, doi:10.1109/TNNLS.2022.3190166, it is called Dual-Level Knowledge Distillation (DLKD).
Not the Multi-level Logit Distillation of CVPR 2023, which tables call MLKD too. The weights 50, 1 and 20, temperatures
0.5 and 0.07, and width 128 are those of the authors' code for CIFAR-100; for ImageNet they take 20, 0.5 and 10.
Departs from it: the features are what the classification head reads. A task whose rows cannot be turned (texts) has no
turns: rows are then compared with the batch as it stands, each with itself too. Pictures that are not square get a half
turn alone. A row without a label is a group of its own, as every row is where `by_label` is false. Cropping comes
before turning, not after it.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from kd2deploy.core import Method, Networks, Step, TaskLoss, Term, Weighted, gathered
from kd2deploy.core.search import TermWeight
from kd2deploy.methods._groups import contrast_of_groups, groups_of
from kd2deploy.methods._maths import (
    need_embeddings,
    need_one_answer_per_row,
    need_positive,
    need_weight,
    normalized,
    squared_distance,
)
from kd2deploy.methods._turned import TURNED, Turned, all_upright_rows, turned_embeddings, two_layers

WIDENING = 16
"""How much wider than the teacher's features the layer between is that the student's are aligned through."""


def correlation_kl(
    student: Float[Tensor, "M S"], teacher: Float[Tensor, "M T"], upright: int, temperature: float
) -> Float[Tensor, ""]:
    """KL(teacher || student) in nats of whom a turned row resembles among the upright ones, the first `upright` rows.

    That is a softmax of cosines over the temperature; mean over the turned rows, or over the upright where there are no
    others.
    """
    of_student, of_teacher = (
        F.log_softmax(resemblance(features, upright) / temperature, dim=-1) for features in (student, teacher)
    )
    return F.kl_div(of_student, of_teacher, reduction="batchmean", log_target=True)


def resemblance(features: Float[Tensor, "M D"], upright: int) -> Float[Tensor, "N U"]:
    """Cosines of the turned rows (those as they stand where there are no others) with the upright ones."""
    unit = normalized(features)
    asking = unit[upright:] if len(unit) > upright else unit
    return asking @ unit[:upright].T


def supervised_contrast(
    embeddings: Float[Tensor, "A D"], groups: Int64[Tensor, "A"], temperature: float
) -> Float[Tensor, "A"]:
    """`contrast_of_groups` of dot products over the temperature; every group has two rows or more."""
    return contrast_of_groups(embeddings @ embeddings.T / temperature, groups)


def need_one_class(nets: Networks) -> None:
    """An error where a row's label is not one class."""
    if nets.student_sizes.classes < 2 or nets.student_sizes.per_label:
        raise ValueError(
            "mlkd groups rows by their class, and a row of this task has no one class; set by_label: false, which "
            "groups every row by itself"
        )
    need_one_answer_per_row(nets, "mlkd")


class Alignment(Term):
    """2 - 2 cosine of the student's mapped features and the teacher's own, in 0..4; mean over all turns of all rows."""

    needs = frozenset({"teacher", "embedding"})
    views = (TURNED,)

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method

    def bind(self, nets: Networks) -> None:
        of_student, of_teacher = need_embeddings(nets, self.method)
        self.of_student = two_layers(of_student, WIDENING * of_teacher, of_teacher)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = map(gathered, step.embeddings(TURNED))
        return squared_distance(normalized(self.of_student(student).float()), normalized(teacher)).mean()


class Correlation(Term):
    """`correlation_kl` of the student's mapped features to the teacher's own."""

    needs = frozenset({"teacher", "embedding"})
    views = (TURNED,)

    def __init__(self, temperature: float) -> None:
        super().__init__()
        need_positive(correlation_temperature=temperature)
        self.temperature = temperature

    def bind(self, nets: Networks) -> None:
        width, _ = need_embeddings(nets, "mlkd")
        self.of_student = two_layers(width, width, width)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = turned_embeddings(step)
        return correlation_kl(self.of_student(student).float(), teacher, all_upright_rows(step), self.temperature)


class SupervisedContrast(Term):
    """Mean of `supervised_contrast` over both networks' projected rows in all turns, by label or each by itself.

    Both networks' embeddings of a row are of one group.
    """

    views = (TURNED,)

    def __init__(self, temperature: float, dim: int, by_label: bool) -> None:
        super().__init__()
        need_positive(contrast_temperature=temperature, dim=dim)
        self.temperature, self.dim, self.by_label = temperature, dim, by_label
        self.needs = frozenset({"teacher", "embedding", "labels"} if by_label else {"teacher", "embedding"})

    def bind(self, nets: Networks) -> None:
        of_student, of_teacher = need_embeddings(nets, "mlkd")
        if self.by_label:
            need_one_class(nets)
        self.of_student, self.of_teacher = nn.Linear(of_student, self.dim), nn.Linear(of_teacher, self.dim)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = turned_embeddings(step)
        both = torch.cat([self.of_student(student), self.of_teacher(teacher)])
        none = torch.full((all_upright_rows(step),), -1, device=student.device)
        groups = groups_of(gathered(step.batch["labels"]) if self.by_label else none, len(student))
        return supervised_contrast(normalized(both.float()), groups.repeat(2), self.temperature).mean()


def mlkd(
    alignment: TermWeight = 20.0,
    correlation: TermWeight = 50.0,
    contrast: TermWeight = 1.0,
    correlation_temperature: float = 0.5,
    contrast_temperature: float = 0.07,
    dim: int = 128,
    by_label: bool = True,
    task: float = 1.0,
) -> Method:
    """task * task loss + alignment * feature alignment + correlation * correlation of turns + contrast * contrast.

    It has a weight for each of the source's four terms, and what two of them are made with. The teacher's logits are
    not read. `by_label: false` groups every row by itself; with `task: 0` as well, no labels are needed.
    """
    need_weight(alignment=alignment, correlation=correlation, contrast=contrast, task=task)
    terms = {
        "alignment": Weighted(Alignment("mlkd"), alignment),
        "correlation": Weighted(Correlation(correlation_temperature), correlation),
        "contrast": Weighted(SupervisedContrast(contrast_temperature, dim, by_label), contrast),
    }
    if task:
        terms["task"] = Weighted(TaskLoss(TURNED), task)
    return Method(Turned(), **terms)
