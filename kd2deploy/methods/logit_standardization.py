"""Logit standardization: soft targets of z-scores, so that the student need not match the teacher's logit scale.

Source: Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation", CVPR 2024, arXiv:2403.01427, section
4, and the authors' code (standard deviation with n - 1; temperature 2, weights 0.1 and 9 on CIFAR-100).
Departs from it: none.
"""

from jaxtyping import Float
from torch import Tensor

from kd2deploy.core import Method, Networks, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import Temperature, TermWeight
from kd2deploy.methods._maths import TINY, need_positive, need_same_classes, need_weight
from kd2deploy.methods.logit import softened_kl


def z_scored(logits: Float[Tensor, "*B C"]) -> Float[Tensor, "*B C"]:
    """Logits less their mean, over their standard deviation (n - 1), along the classes; 0 where all are equal."""
    return (logits - logits.mean(-1, keepdim=True)) / (logits.std(-1, keepdim=True) + TINY)


class StandardizedTargets(Term):
    """Mean of `softened_kl` of z-scored logits over the positions that count."""

    needs = frozenset({"teacher", "logits"})

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        need_positive(temperature=temperature)
        self.temperature = temperature

    def bind(self, nets: Networks) -> None:
        need_same_classes(nets, "logit_standardization", least=3)  # the z-scores of two logits are always +-0.707

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.logits()
        return softened_kl(z_scored(student), z_scored(teacher), self.temperature).mean()


def logit_standardization(temperature: Temperature = 2.0, task: TermWeight = 0.1, soft: TermWeight = 9.0) -> Method:
    """task * task loss + soft * soft targets of the z-scored logits."""
    need_weight(task=task, soft=soft)
    return Method(
        task=Weighted(TaskLoss(), task),
        soft=Weighted(StandardizedTargets(temperature), soft),
    )
