"""DIST: the student keeps the teacher's relations between classes in a row, and between rows in a class.

Source: Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, arXiv:2205.10536,
section 4, equations 6 to 10.
Departs from it: the squared temperature, as in the authors' code; the default temperature and weights are those of
their ImageNet runs (1, 2 and 2).
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kd2deploy.core import Method, Networks, Step, TaskLoss, Term, Weighted, gathered
from kd2deploy.core.search import Temperature, TermWeight
from kd2deploy.methods._maths import need_positive, need_same_classes, need_weight, pearson


def relation_loss(student: Float[Tensor, "N C"], teacher: Float[Tensor, "N C"]) -> Float[Tensor, ""]:
    """1 - Pearson's correlation of each row of the one with that row of the other, in 0..2; mean over the rows."""
    return (1 - pearson(student, teacher)).mean()


class Relations(Term):
    """`relation_loss` of the softened probabilities, by row (inter-class) or by class (intra-class).

    The rows of a class are those of all processes."""

    needs = frozenset({"teacher", "logits"})

    def __init__(self, temperature: float, by_class: bool) -> None:
        super().__init__()
        need_positive(temperature=temperature)
        self.temperature = self.softens = temperature
        self.by_class = by_class

    def bind(self, nets: Networks) -> None:
        need_same_classes(nets, "dist")

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = (F.softmax(logits / self.temperature, dim=-1) for logits in step.logits())
        if self.by_class:
            student, teacher = gathered(student).T, gathered(teacher).T
        return relation_loss(student, teacher) * self.temperature**2


def dist(temperature: Temperature = 1.0, beta: TermWeight = 2.0, gamma: TermWeight = 2.0) -> Method:
    """task loss + beta * inter-class relation + gamma * intra-class relation.

    With two classes the inter-class relation is only whether both networks prefer the same class: it has no gradient.
    """
    need_weight(beta=beta, gamma=gamma)
    return Method(
        task=Weighted(TaskLoss()),
        inter=Weighted(Relations(temperature, by_class=False), beta),
        intra=Weighted(Relations(temperature, by_class=True), gamma),
    )
