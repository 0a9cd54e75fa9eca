"""CRD: a row's student embedding is told from those of other rows by its teacher embedding, and the other way round,
with a bank of both networks' embeddings of every training row.

Source: Tian, Krishnan, Isola, "Contrastive Representation Distillation", ICLR 2020, arXiv:1910.10699, section 3, and
the authors' code, where its loss is the noise-contrastive estimation of two banks (16384 negatives, temperature 0.07,
width 128, momentum 0.5, beta 0.8; each side's constant is set by the first batch).
Departs from it: negatives are rows of other classes, as in the authors' script, where the training rows have one class
each; elsewhere, and with `negatives_of: all`, they are drawn from all rows, the row itself among them, as their loss
does when it draws by itself. They are drawn with replacement, where the authors' script does so only if there are fewer
rows than negatives. Similarities to the whole bank are taken and then picked from, which is the same and takes less
memory. The embedding is what the classification head reads. Soft targets beside it are `logit` in a sum of methods.
`contrastive` is the form without banks.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from kd2deploy.core import Method, Networks, Step, TaskLoss, Term, Weighted, averaged, gathered
from kd2deploy.core.search import ContrastTemperature, TermWeight
from kd2deploy.methods._maths import (
    need_embeddings,
    need_one_of,
    need_positive,
    need_share,
    need_weight,
    normalized,
    products,
)

EPS = 1e-7
"""The authors': keeps a probability of 0 from being divided by."""

NO_CLASS = -1
NegativesOf = Literal["other_classes", "all"]


def noise_contrastive(scores: Float[Tensor, "B K"], rows: int) -> Float[Tensor, ""]:
    """Negative log-likelihood (nats) that the first of a row's K scores came from the data and the others from noise.

    Scores are probabilities up to a constant; noise draws K - 1 of `rows` evenly. Sum over K, mean over the batch.
    """
    noise = (scores.shape[1] - 1) / rows
    own, others = scores[:, 0], scores[:, 1:]
    of_data, of_noise = (own / (own + noise + EPS)).log(), (noise / (others + noise + EPS)).log()
    return -(of_data.sum() + of_noise.sum()) / len(scores)


def likenesses(
    vectors: Float[Tensor, "B D"], bank: Float[Tensor, "N D"], asked: Int64[Tensor, "B K"], temperature: float
) -> Float[Tensor, "B K"]:
    """exp(vector . bank row / temperature) for the rows that each vector is asked about."""
    return (products(vectors, bank).gather(1, asked) / temperature).exp()


def moved(
    bank: Float[Tensor, "N D"], rows: Int64[Tensor, "B"], vectors: Float[Tensor, "B D"], momentum: float
) -> Float[Tensor, "N D"]:
    """A bank whose `rows` have moved towards their new vectors, and are of length 1 again."""
    return bank.index_copy(0, rows, normalized(momentum * bank[rows] + (1 - momentum) * vectors))


class Others:
    """Draws rows of other classes than a row's own, all alike, with replacement; of all rows for one of no class."""

    def __init__(self, classes: Int64[Tensor, "N"]) -> None:
        self.classes = classes
        self.sorted, self.order = classes.sort(stable=True)

    def drawn(self, rows: Int64[Tensor, "B"], count: int) -> Int64[Tensor, "B K"]:
        own = self.classes[rows]
        first, end = (torch.searchsorted(self.sorted, own, right=right) for right in (False, True))
        alike = torch.where(own < 0, 0, end - first)
        alike = torch.where(alike == len(self.order), 0, alike)  # where nobody is of another class
        chosen = torch.rand(len(rows), count, dtype=torch.float64, device=rows.device)
        places = (chosen * (len(self.order) - alike)[:, None]).long()
        return self.order[places + alike[:, None] * (places >= first[:, None])]


class TwoBanks(Term):
    """`noise_contrastive` of the student's vectors in the teacher's bank, plus that of the teacher's in the other."""

    needs = frozenset({"teacher", "embedding"})
    student_bank: Tensor
    teacher_bank: Tensor
    constants: Tensor

    def __init__(
        self, negatives: int, negatives_of: NegativesOf, temperature: float, dim: int, momentum: float
    ) -> None:
        super().__init__()
        need_positive(negatives=negatives, temperature=temperature, dim=dim)
        need_one_of(("other_classes", "all"), negatives_of=negatives_of)
        need_share(momentum=momentum)
        self.negatives, self.negatives_of = negatives, negatives_of
        self.temperature, self.dim, self.momentum = temperature, dim, momentum
        self.others: Others | None = None

    def bind(self, nets: Networks) -> None:
        of_student, of_teacher = need_embeddings(nets, "crd")
        self.of_student, self.of_teacher = nn.Linear(of_student, self.dim), nn.Linear(of_teacher, self.dim)
        bound = math.sqrt(3 / self.dim)  # so that a row's length is about 1
        self.register_buffer("student_bank", torch.empty(nets.rows, self.dim).uniform_(-bound, bound))
        self.register_buffer("teacher_bank", torch.empty(nets.rows, self.dim).uniform_(-bound, bound))
        self.register_buffer("constants", torch.zeros(2))
        self.classes = nets.classes if self.negatives_of == "other_classes" else None

    def forward(self, step: Step) -> Float[Tensor, ""]:
        rows = step.batch["index"].long()
        student, teacher = step.embeddings()
        student, teacher = normalized(self.of_student(student).float()), normalized(self.of_teacher(teacher).float())
        asked = torch.cat([rows[:, None], self.drawn(rows)], dim=1)
        found = [
            likenesses(vectors, bank, asked, self.temperature)
            for vectors, bank in ((student, self.teacher_bank), (teacher, self.student_bank))
        ]
        constants = self.constants_of(found)
        if self.training:
            self.remember(rows, student.detach(), teacher.detach(), constants)
        first, second = (
            noise_contrastive(each / constant, len(self.student_bank))
            for each, constant in zip(found, constants, strict=True)
        )
        return first + second

    def drawn(self, rows: Int64[Tensor, "B"]) -> Int64[Tensor, "B K"]:
        """The negatives of these rows."""
        if self.others is None:
            none = torch.full((len(self.student_bank),), NO_CLASS)
            self.others = Others((none if self.classes is None else self.classes()).to(rows.device))
        return self.others.drawn(rows, self.negatives)

    def constants_of(self, found: list[Tensor]) -> Float[Tensor, "2"]:
        """What makes each side's scores probabilities: once set they stay."""
        fresh = averaged(torch.stack([each.detach().mean() for each in found])) * len(self.student_bank)
        return torch.where(self.constants > 0, self.constants, fresh)

    def remember(self, rows: Tensor, student: Tensor, teacher: Tensor, constants: Tensor) -> None:
        """The rows of all ranks in the banks. Banks are replaced, for the backward pass reads them as they were."""
        rows = gathered(rows)
        self.student_bank = moved(self.student_bank, rows, gathered(student), self.momentum)
        self.teacher_bank = moved(self.teacher_bank, rows, gathered(teacher), self.momentum)
        self.constants = constants


def crd(
    negatives: int = 16384,
    negatives_of: NegativesOf = "other_classes",
    temperature: ContrastTemperature = 0.07,
    dim: int = 128,
    momentum: float = 0.5,
    beta: TermWeight = 0.8,
) -> Method:
    """task loss + beta * noise-contrastive estimation with two banks.

    `momentum`: the share of its old vector that a row of a bank keeps when its row of the data is seen. The banks take
    rows * dim * 8 bytes beside the networks.
    """
    need_weight(beta=beta)
    banks = TwoBanks(negatives, negatives_of, temperature, dim, momentum)
    return Method(task=Weighted(TaskLoss()), contrast=Weighted(banks, beta))
