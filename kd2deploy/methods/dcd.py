"""DCD: a row's student embedding finds the same row's teacher embedding, and both networks find each other alike.

Source: Giakoumoglou, Stathaki, "Discriminative and Consistent Representation Distillation", arXiv:2407.11802 (earlier
titles speak of invariant consistency, ICD), the contrast, the consistency and the authors' code for CIFAR-100: width
128, scale exp(1) at the start and 10 at most, alpha 0.5, beta 1; soft 0 is their DCD, soft 1 with temperature 4 their
DCD+KD.
Departs from it: the paper's additive offset of the similarities is left out, for both terms are softmaxes of them, and
no constant changes a softmax; the embedding is what the classification head reads, whatever the network; negatives are
the other rows of the batch, of all processes.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Method, Networks, Step, TaskLoss, Term, Weighted, gathered
from kd2deploy.core.search import Temperature, TermWeight
from kd2deploy.methods._maths import need_embeddings, need_positive, need_weight, normalized
from kd2deploy.methods.logit import SoftTargets

LARGEST_SCALE = 10.0
LOG_SCALE = 1.0
"""Where the logarithm of the scale starts."""


def similarities(
    student: Float[Tensor, "B D"], teacher: Float[Tensor, "B D"], log_scale: Float[Tensor, ""]
) -> Float[Tensor, "B B"]:
    """Cosine of student row i and teacher row j, times exp(log_scale), 10 at most."""
    return log_scale.exp().clamp(max=LARGEST_SCALE) * normalized(student) @ normalized(teacher).T


def discrimination(similarity: Float[Tensor, "B B"]) -> Float[Tensor, ""]:
    """-log softmax over the teacher's rows at the student's own row, in nats; mean over the batch."""
    return F.cross_entropy(similarity, torch.arange(len(similarity), device=similarity.device))


def inconsistency(similarity: Float[Tensor, "B B"]) -> Float[Tensor, ""]:
    """KL (nats) from how teacher rows choose among the student's to how student rows choose among the teacher's; mean
    over the batch, gradient through both. It is 0 where the matrix is symmetric."""
    of_student, of_teacher = F.log_softmax(similarity, dim=-1), F.log_softmax(similarity.T, dim=-1)
    return F.kl_div(of_student, of_teacher, reduction="batchmean", log_target=True)


class Consistent(Term):
    """discrimination + alpha * inconsistency of the projected embeddings' similarities, summed over `views`."""

    needs = frozenset({"teacher", "embedding"})

    def __init__(self, alpha: float, dim: int, views: tuple[str, ...] = ("clean",), method: str = "dcd") -> None:
        super().__init__()
        need_weight(alpha=alpha)
        need_positive(dim=dim)
        self.alpha, self.dim, self.views, self.method = alpha, dim, views, method

    def bind(self, nets: Networks) -> None:
        of_student, of_teacher = need_embeddings(nets, self.method)
        self.of_student, self.of_teacher = nn.Linear(of_student, self.dim), nn.Linear(of_teacher, self.dim)
        self.log_scale = nn.Parameter(torch.tensor(LOG_SCALE))

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return torch.stack([self.loss(*step.embeddings(view)) for view in self.views]).sum()

    def loss(self, student: Float[Tensor, "B S"], teacher: Float[Tensor, "B T"]) -> Float[Tensor, ""]:
        projected = gathered(self.of_student(student).float()), gathered(self.of_teacher(teacher).float())
        similarity = similarities(*projected, self.log_scale)
        return discrimination(similarity) + self.alpha * inconsistency(similarity)


def dcd(
    alpha: TermWeight = 0.5,
    beta: TermWeight = 1.0,
    dim: int = 128,
    soft: TermWeight = 0.0,
    temperature: Temperature = 4.0,
) -> Method:
    """task loss + beta * (discrimination + alpha * inconsistency) + soft * soft targets.

    `dim`: of the space that both embeddings are projected into, by maps that are trained. `temperature`: of the soft
    targets.
    """
    need_weight(beta=beta, soft=soft)
    terms = {"task": Weighted(TaskLoss()), "consistent": Weighted(Consistent(alpha, dim), beta)}
    if soft:
        terms["soft"] = Weighted(SoftTargets(temperature, method="dcd"), soft)
    return Method(**terms)
