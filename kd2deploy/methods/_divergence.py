"""How far apart two networks answer: what a generator maximizes and the student minimizes."""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kd2deploy.core import Networks, Step, Term
from kd2deploy.methods._maths import need_equal_classes, need_positive
from kd2deploy.methods.logit import softened_kl

Divergence = Literal["kl", "cross_entropy"]
"""`cross_entropy` is `kl` plus the teacher's entropy: the same for the student, not for a generator, which can raise it
by making the teacher unsure."""


def mean_squared_error(student: Float[Tensor, "*B C"], teacher: Float[Tensor, "*B C"]) -> Float[Tensor, "*B"]:
    """Squared difference of raw logits, mean over the classes."""
    return (student - teacher).square().mean(-1)


def soft_cross_entropy(
    student: Float[Tensor, "*B C"], teacher: Float[Tensor, "*B C"], temperature: float
) -> Float[Tensor, "*B"]:
    """-sum_c softmax(teacher) log softmax(student) in nats at `temperature`, times its square."""
    t = F.softmax(teacher / temperature, dim=-1)
    return -(t * F.log_softmax(student / temperature, dim=-1)).sum(-1) * temperature**2


class Disagreement(Term):
    """Mean divergence over the rows of one view; mean squared error where the task shows values."""

    needs = frozenset({"teacher"})

    def __init__(self, method: str, view: str, kind: Divergence, temperature: float) -> None:
        super().__init__()
        if kind not in ("kl", "cross_entropy"):
            raise ValueError(f"divergence must be kl or cross_entropy, got {kind!r}")
        need_positive(temperature=temperature)
        self.method, self.view, self.kind = method, view, kind
        self.temperature = self.softens = temperature
        self.views = (view,)

    def bind(self, nets: Networks) -> None:
        need_equal_classes(nets, self.method)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.answers(self.view)
        if not step.shows_classes(self.view):
            return mean_squared_error(student, teacher).mean()
        if self.kind == "kl":
            return softened_kl(student, teacher, self.temperature).mean()
        return soft_cross_entropy(student, teacher, self.temperature).mean()
