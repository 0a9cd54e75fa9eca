"""CILDA: MATE-KD whose generator also drives the two networks' intermediate layers apart, by a contrastive loss.

Source: Haidar, Rezagholizadeh, Ghaddar, Bibi, Langlais, Poupart, "CILDA: Contrastive Data Augmentation using
Intermediate Layer Knowledge Distillation", COLING 2022, arXiv:2204.07674.
Departs from it: there is no code of the authors. The weights (1/2, 1/2 and 1/3, 1/3, 2/9, 1/9), the width of 128, the
contrast's temperature of 2, the cycle of 10 and 100 and the generator's rate are those of a re-implementation by
others, not known to be the paper's; likewise that the two maps belong to the generator's side (they ascend with it and
the student never learns them) and that the student's dropout is off while they ascend. Dividing the contrast by the log
of the batch is an option there; that it is off by default is ours. The temperature of 1 is ours too, and so are the
generator derived from the teacher, its dropout being off, its AdamW with a constant rate and without weight decay, and
that it learns from mini-batches of its own, which the re-implementation takes out of the student's.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import MaskedLm, Method, Networks, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import ContrastTemperature, Temperature, TermWeight, WholePart
from kd2deploy.methods._adversarial_text import ADVERSARIAL, AdversarialText, Game
from kd2deploy.methods._divergence import Disagreement
from kd2deploy.methods._maths import need_hidden, need_positive, need_sum_of_one, need_weight
from kd2deploy.methods.contrastive import info_nce


def first_positions(hidden: tuple[Tensor, ...]) -> Float[Tensor, "B D"]:
    """The first position's vector of every block, side by side; the embedding's output is left out."""
    return torch.cat([state[:, 0].float() for state in hidden[1:]], dim=-1)


class Contrast(Term):
    """Each row's teacher is to find its own student among the batch's students: `info_nce` with the teacher asking."""

    needs = frozenset({"teacher", "hidden"})

    def __init__(self, view: str, temperature: float, dim: int, by_log_batch: bool) -> None:
        super().__init__()
        need_positive(contrast_temperature=temperature, dim=dim)
        self.view, self.views = view, (view,)
        self.temperature, self.dim, self.by_log_batch = temperature, dim, by_log_batch

    def bind(self, nets: Networks) -> None:
        student, teacher = need_hidden(nets, "cilda")
        self.of_student = nn.Linear(sum(student.hidden[1:]), self.dim)
        self.of_teacher = nn.Linear(sum(teacher.hidden[1:]), self.dim)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student = self.of_student(first_positions(step.student(self.view).hidden)).float()
        teacher = self.of_teacher(first_positions(step.teacher(self.view).hidden)).float()
        rows = len(student)
        loss = info_nce(teacher, student, torch.arange(rows, device=student.device), self.temperature)
        return loss / math.log(rows) if self.by_log_batch and rows > 1 else loss


class Separation(Term):
    """What the generator of CILDA ascends: a weighted sum of the divergence and the contrast, in one view."""

    needs = frozenset({"teacher", "hidden"})

    def __init__(self, apart: Disagreement, divergence: float, contrast: Contrast, contrast_weight: float) -> None:
        super().__init__()
        self.apart, self.contrast = apart, contrast
        self.divergence_weight, self.contrast_weight = divergence, contrast_weight
        self.views = apart.views

    def bind(self, nets: Networks) -> None:
        self.apart.bind(nets)
        self.contrast.bind(nets)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        apart: Tensor = self.apart(step)
        contrast: Tensor = self.contrast(step)
        return self.divergence_weight * apart + self.contrast_weight * contrast


def cilda(
    generator: MaskedLm | str | None = None,
    mask_rate: float = 0.3,
    ascents: int = 10,
    descents: int = 100,
    generator_rate: float = 5e-7,
    divergence: TermWeight = 0.5,
    contrast: TermWeight = 0.5,
    contrast_temperature: ContrastTemperature = 2.0,
    dim: int = 128,
    by_log_batch: bool = False,
    temperature: Temperature = 1.0,
    task: WholePart = 1 / 3,
    soft: WholePart = 1 / 3,
    adversarial_task: WholePart = 2 / 9,
    adversarial_soft: WholePart = 1 / 9,
) -> Method:
    """task * task loss + soft * KL on the text, and adversarial_task, adversarial_soft times the same on filled text.

    The generator ascends divergence * KL + contrast * contrast between all layers; `by_log_batch` divides the contrast
    by the log of the batch, so that both have like scale. The filled text keeps the row's label. The other arguments
    are those of mate_kd.
    """
    need_sum_of_one(task=task, soft=soft, adversarial_task=adversarial_task, adversarial_soft=adversarial_soft)
    need_weight(divergence=divergence, contrast=contrast)

    def apart(view: str) -> Disagreement:
        return Disagreement("cilda", view, "kl", temperature)

    between_layers = Contrast(ADVERSARIAL, contrast_temperature, dim, by_log_batch)
    objective = Separation(apart(ADVERSARIAL), divergence, between_layers, contrast)
    game = Game(generator, mask_rate, ascents, descents, generator_rate)
    return Method(
        AdversarialText("cilda", objective, game, labels=True, student_dropout=False),
        task=Weighted(TaskLoss(), task),
        soft=Weighted(apart("clean"), soft),
        adversarial_task=Weighted(TaskLoss(ADVERSARIAL), adversarial_task),
        adversarial_soft=Weighted(apart(ADVERSARIAL), adversarial_soft),
    )
