"""Logit distillation: the student matches the teacher's softened class distribution.

Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531, section 2.
Departs from it: the paper softens classes; of a regression, whose number has no distribution, the student learns the
teacher's number by squared error. The temperature of 1 and the weights are ours,
chosen over four data sets (docs/methods.md).
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kd2deploy.core import Method, Networks, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import Share, Temperature
from kd2deploy.methods._maths import need_equal_classes, need_positive, need_share


def softened_kl(
    student: Float[Tensor, "*B C"], teacher: Float[Tensor, "*B C"], temperature: float
) -> Float[Tensor, "*B"]:
    """KL(teacher || student) in nats at `temperature`, times its square so that gradients keep their scale."""
    s = F.log_softmax(student / temperature, dim=-1)
    t = F.log_softmax(teacher / temperature, dim=-1)
    return F.kl_div(s, t, reduction="none", log_target=True).sum(-1) * temperature**2


class SoftTargets(Term):
    """Mean of `softened_kl` over the positions that count in one view; the squared error of values."""

    needs = frozenset({"teacher"})

    def __init__(self, temperature: float = 4.0, view: str = "clean", method: str = "logit") -> None:
        super().__init__()
        need_positive(temperature=temperature)
        self.temperature = self.softens = temperature
        self.method = method
        self.view, self.views = view, (view,)

    def bind(self, nets: Networks) -> None:
        need_equal_classes(nets, self.method)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.answers(self.view)  # [N, C] each, masked positions gone
        if not step.shows_classes(self.view):
            return F.mse_loss(student, teacher)
        return softened_kl(student, teacher, self.temperature).mean()


def logit(temperature: Temperature = 1.0, alpha: Share = 0.9) -> Method:
    """(1 - alpha) * task loss + alpha * soft targets."""
    need_share(alpha=alpha)
    return Method(task=Weighted(TaskLoss(), 1 - alpha), soft=Weighted(SoftTargets(temperature), alpha))
