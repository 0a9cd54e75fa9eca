"""Contrastive distillation: the student's embedding of a row is nearest to the teacher's embedding of the same row.

Sources: Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv:1910.10699, section 3; van
den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018, arXiv:1807.03748, equation 4
(InfoNCE).
Departs from it: InfoNCE over the batch of all ranks in place of noise-contrastive estimation over a bank of every
training row; only the student's side asks (one direction). The optional bank is a queue of the teacher's own
embeddings, which do not age since the teacher is frozen: the map is applied when they are read, so no momentum copy is
needed. No bank by default is ours. Temperature 0.07, width 128 and beta 0.8 are the authors' script's.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from kd2deploy.core import Method, Networks, Step, TaskLoss, Term, Weighted, gathered
from kd2deploy.core.ranks import rank
from kd2deploy.core.search import ContrastTemperature, TermWeight
from kd2deploy.methods._maths import need_embeddings, need_positive, need_weight, normalized

EMPTY_SLOT, UNKNOWN_ROW = -2, -1


def info_nce(
    student: Float[Tensor, "B D"],
    teacher: Float[Tensor, "K D"],
    positive: Int64[Tensor, "B"],
    temperature: float,
    excluded: Bool[Tensor, "B K"] | None = None,
) -> Float[Tensor, ""]:
    """-log softmax(cos(student_i, teacher_k) / temperature) at k = positive_i, in nats; mean over the batch.

    `excluded` candidates are left out of the sum. It is log K when all cosines are equal.
    """
    similarity = normalized(student) @ normalized(teacher).T / temperature
    if excluded is not None:
        similarity = similarity.masked_fill(excluded, -torch.inf)
    return F.cross_entropy(similarity, positive)


def bank_mb(size: int, width: int) -> float:
    """Size in MB of a bank of `size` float32 embeddings of `width` and their row numbers."""
    return size * (4 * width + 8) / 1e6


class SameRow(Term):
    """`info_nce` of the projected embeddings over the batch of all ranks and the bank.

    Other copies of a row (in the bank from an earlier epoch, or padded in by a sampler) are no negatives of it where
    the batch tells the rows' numbers (`index`).
    """

    needs = frozenset({"teacher", "embedding"})
    bank: Tensor
    bank_rows: Tensor

    def __init__(self, temperature: float = 0.07, dim: int = 128, bank: int = 0) -> None:
        super().__init__()
        need_positive(temperature=temperature, dim=dim)
        need_weight(bank=bank)
        self.temperature, self.dim, self.size = temperature, dim, bank

    def bind(self, nets: Networks) -> None:
        of_student, of_teacher = need_embeddings(nets, "contrastive")
        self.of_student, self.of_teacher = nn.Linear(of_student, self.dim), nn.Linear(of_teacher, self.dim)
        self.bank_mb = bank_mb(self.size, of_teacher)
        self.register_buffer("bank", torch.zeros(self.size, of_teacher))
        self.register_buffer("bank_rows", torch.full((self.size,), EMPTY_SLOT))

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.embeddings()
        mine = step.batch.get("index", torch.full((len(student),), UNKNOWN_ROW, device=student.device)).long()
        keys, rows = gathered(teacher.detach()), gathered(mine)
        candidates, candidate_rows = torch.cat([keys, self.bank]), torch.cat([rows, self.bank_rows])
        first = rank() * len(mine)
        positive = torch.arange(first, first + len(mine), device=student.device)
        same_row = (mine[:, None] == candidate_rows) & (mine[:, None] != UNKNOWN_ROW)
        again = same_row & (torch.arange(len(candidates), device=student.device) != positive[:, None])
        loss = info_nce(
            self.of_student(student).float(),
            self.of_teacher(candidates).float(),
            positive,
            self.temperature,
            again | (candidate_rows == EMPTY_SLOT),
        )
        if self.training and self.size:
            self.bank.copy_(candidates[: self.size])
            self.bank_rows.copy_(candidate_rows[: self.size])
        return loss


def contrastive(
    temperature: ContrastTemperature = 0.07, dim: int = 128, bank: int = 0, beta: TermWeight = 0.8
) -> Method:
    """task loss + beta * InfoNCE between the two networks' embeddings.

    `bank`: how many of the teacher's last embeddings are kept as further negatives; see `bank_mb` for its size.
    """
    need_weight(beta=beta)
    return Method(task=Weighted(TaskLoss()), contrast=Weighted(SameRow(temperature, dim, bank), beta))
