"""Mixup and distillation: both networks see one mixed batch, part of it unmixed, and their logits are rescaled.

Source: Choi, Jeon, Shukla, Turaga, "Understanding the Role of Mixup in Knowledge Distillation: An Empirical Study",
WACV 2023, arXiv:2211.03946, and the authors' code (weights 0.1 and 0.9, Beta(1, 1) for each row, standard deviation of
the logits, temperature 1). Their loss is alone on mixed batches: there is no term of the rows as they stand.
Departs from it: the authors draw two permutations and mix their rows; one gives the same pairs in another order. Their
code draws the rows that stay unmixed with replacement, so that of a share of 0.9 only 1 - exp(-0.9) = 59 % stay
unmixed: `shares: published` does so too, `exact`, the default, mixes just the share that is named, and draws the
fraction of a row by chance. An unmixed row is its own partner, so that nothing of another row, such as its length,
reaches it. The input that is mixed is the task's own continuous one, word embeddings for text. Of two classes rescaled
logits are constants, so that three are needed, or `rescaled: false`. At another temperature than 1 the squared
temperature of plain distillation scales the KL, which is ours for rescaled logits. The authors also rescale when they
score; the deployed student gives its logits as they are: the same classes, and other probabilities. Its scale is not
trained, so calibrate before they are read as such.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kd2deploy.core import Method, Networks, Step, Term, Weighted, counted_logits
from kd2deploy.core.search import Temperature, TermWeight
from kd2deploy.methods._maths import (
    TINY,
    need_classes,
    need_equal_classes,
    need_exclusive_classes,
    need_one_answer_per_row,
    need_one_of,
    need_positive,
    need_share,
    need_weight,
)
from kd2deploy.methods._mixing import KEPT, PARTNER, Draw, InputMixup, beta_pairs, mixed_label_loss
from kd2deploy.methods.logit import softened_kl

Shares = Literal["exact", "published"]


def rescaled_logits(logits: Float[Tensor, "*B C"]) -> Float[Tensor, "*B C"]:
    """Logits over their standard deviation (n - 1) along the classes; their mean stays. Where all are equal, all stay
    so."""
    return logits / logits.std(-1, keepdim=True).clamp(min=TINY)


def partly(draw: Draw, share: float, shares: Shares) -> Draw:
    """Of what `draw` gives, only a share of the rows mixed; the others keep all of themselves, and are their own
    partner."""

    def drawn(rows: int) -> tuple[Tensor, Tensor]:
        kept, partner = draw(rows)
        unmixed = unmixed_rows(rows, share, shares)
        kept[unmixed], partner[unmixed] = 1.0, unmixed
        return kept, partner

    return drawn


def unmixed_rows(rows: int, share: float, shares: Shares) -> Tensor:
    """Which rows stay unmixed where `share` of them is mixed."""
    if shares == "published":
        return torch.randint(rows, (round((1 - share) * rows),))
    mixed = int(share * rows + torch.rand(()).item())
    return torch.randperm(rows)[mixed:]


class MixedTask(Term):
    """Cross-entropy (nats) of the student's logits on the mixed rows with their mixed labels."""

    needs = frozenset({"labels", "logits"})
    views = ("mix",)

    def __init__(self, rescaled: bool) -> None:
        super().__init__()
        self.rescaled = rescaled

    def bind(self, nets: Networks) -> None:
        need_exclusive_classes(nets, "mixup_kd")
        need_one_answer_per_row(nets, "mixup_kd")
        need_enough_classes(nets, self.rescaled)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        shown, logits = step.pairs["mix"].look.student, counted_logits(step.student("mix"))
        logits = rescaled_logits(logits) if self.rescaled else logits
        return mixed_label_loss(logits, step.batch["labels"], shown[KEPT], shown[PARTNER])


class MixedTargets(Term):
    """Mean of `softened_kl` of the two networks' logits on the mixed rows."""

    needs = frozenset({"teacher", "logits"})
    views = ("mix",)

    def __init__(self, rescaled: bool, temperature: float) -> None:
        super().__init__()
        need_positive(temperature=temperature)
        self.rescaled, self.temperature = rescaled, temperature

    def bind(self, nets: Networks) -> None:
        need_exclusive_classes(nets, "mixup_kd")
        need_equal_classes(nets, "mixup_kd")
        need_enough_classes(nets, self.rescaled)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.logits("mix")
        if self.rescaled:
            student, teacher = rescaled_logits(student), rescaled_logits(teacher)
        return softened_kl(student, teacher, self.temperature).mean()


def need_enough_classes(nets: Networks, rescaled: bool) -> None:
    if nets.student_sizes.classes == 2 and rescaled:
        raise ValueError("mixup_kd rescales logits, and those of two classes are then constants; set rescaled: false")
    need_classes(nets, "mixup_kd", least=2)


def mixup_kd(
    mixed: TermWeight = 0.1,
    shares: Shares = "exact",
    concentration: float = 1.0,
    rescaled: bool = True,
    temperature: Temperature = 1.0,
    task: TermWeight = 0.1,
    soft: TermWeight = 0.9,
) -> Method:
    """task * cross-entropy with the mixed labels + soft * soft targets, both on a batch of which `mixed` is mixed.

    `mixed` 1 mixes all rows (the paper's full mixup), 0 none. `rescaled`: logits over their standard deviation. With
    `soft: 0` nobody teaches: so a teacher is trained with mixup.
    """
    need_share(mixed=mixed)
    need_one_of(("exact", "published"), shares=shares)
    need_positive(concentration=concentration)
    need_weight(task=task, soft=soft)
    terms = {}
    if task:
        terms["task"] = Weighted(MixedTask(rescaled), task)
    if soft:
        terms["soft"] = Weighted(MixedTargets(rescaled, temperature), soft)
    return Method(InputMixup(partly(beta_pairs(concentration), mixed, shares)), **terms)
