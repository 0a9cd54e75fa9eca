"""Knowledge adjustment: where the teacher is wrong its answer is corrected by the label, and then imitated.

Source: Wen, Lai, Qian, "Preparing Lessons: Improve Knowledge Distillation with Better Supervision", Neurocomputing 454,
2021, arXiv:1911.07471, knowledge adjustment (KA) by probability shift (PS) or label smooth regularization (LSR).
Departs from it: we found no code of the authors, and know the paper's intent better than its details. That there is no
task loss (every target is right already) is theirs as far as we know; that LSR gives every class smoothing / C and the
label 1 - smoothing more is our reading. Temperature 4 and smoothing 0.1 are ours. The paper has a label for every row;
here a row without one imitates the teacher's answer as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from kd2deploy.core import Method, Networks, Step, Term, Weighted
from kd2deploy.core.search import Temperature
from kd2deploy.methods._maths import need_one_answer_per_row, need_one_of, need_positive, need_same_classes, need_share

Adjustment = Literal["ps", "lsr"]


def shifted(log_p: Float[Tensor, "N C"], labels: Int64[Tensor, "N"]) -> Float[Tensor, "N C"]:
    """PS: the label's and the likeliest class's log-probabilities change places, so that the label is the likeliest.

    A row whose likeliest class is its label, or that has no label (below 0), stays to the bit.
    """
    likeliest = log_p.argmax(-1, keepdim=True)
    label = torch.where(labels[:, None] < 0, likeliest, labels[:, None])
    highest, of_label = log_p.gather(-1, likeliest), log_p.gather(-1, label)
    return log_p.scatter(-1, likeliest, of_label).scatter(-1, label, highest)


def smoothed(log_p: Float[Tensor, "N C"], labels: Int64[Tensor, "N"], smoothing: float) -> Float[Tensor, "N C"]:
    """LSR: a row whose likeliest class is not its label becomes log((1 - smoothing) * one-hot + smoothing / C).

    A row whose likeliest class is its label, or that has no label (below 0), stays to the bit.
    """
    classes = log_p.shape[-1]
    one_hot = F.one_hot(labels.clamp(min=0), classes).to(log_p.dtype)
    wrong = (labels >= 0) & (log_p.argmax(-1) != labels)
    return torch.where(wrong[:, None], ((1 - smoothing) * one_hot + smoothing / classes).log(), log_p)


@dataclass(frozen=True)
class Correction:
    """How the labels correct the teacher's log-probabilities."""

    adjustment: Adjustment
    smoothing: float

    def __post_init__(self) -> None:
        need_one_of(get_args(Adjustment), adjustment=self.adjustment)
        need_positive(smoothing=self.smoothing)  # with 0 the target's logarithm would be infinite
        need_share(smoothing=self.smoothing)

    def by(self, labels: Int64[Tensor, "N"]) -> Callable[[Tensor], Tensor]:
        """From the teacher's log-probabilities to those corrected by these labels."""
        if self.adjustment == "ps":
            return partial(shifted, labels=labels)
        return partial(smoothed, labels=labels, smoothing=self.smoothing)


def corrected_kl(
    student: Float[Tensor, "N C"],
    teacher: Float[Tensor, "N C"],
    temperature: Float[Tensor, "N"],
    correct: Callable[[Tensor], Tensor],
) -> Float[Tensor, "N"]:
    """KL(correct(teacher) || student) in nats at each row's temperature, times its square.

    `correct` takes and returns the teacher's log-probabilities.
    """
    s, t = (F.log_softmax(logits / temperature[:, None], dim=-1) for logits in (student, teacher))
    return F.kl_div(s, correct(t), reduction="none", log_target=True).sum(-1) * temperature**2


class AdjustedTargets(Term):
    """Mean of `corrected_kl` over the rows, at one temperature for all."""

    needs = frozenset({"teacher", "labels", "logits"})

    def __init__(self, correction: Correction, temperature: float) -> None:
        super().__init__()
        need_positive(temperature=temperature)
        self.correction = correction
        self.temperature = self.softens = temperature

    def bind(self, nets: Networks) -> None:
        need_same_classes(nets, "knowledge_adjustment")
        need_one_answer_per_row(nets, "knowledge_adjustment")

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.logits()
        temperature = student.new_full((len(student),), self.temperature)
        return corrected_kl(student, teacher, temperature, self.correction.by(step.batch["labels"])).mean()


def knowledge_adjustment(
    adjustment: Adjustment = "ps", temperature: Temperature = 4.0, smoothing: float = 0.1
) -> Method:
    """Soft targets of the adjusted teacher alone, without a task loss.

    `adjustment`: `ps` lets the label and the teacher's wrong choice change their probabilities, `lsr` puts a smoothed
    label in the place of a wrong answer; `smoothing` is the share of its mass that goes to all classes alike, in 0..1.
    """
    return Method(soft=Weighted(AdjustedTargets(Correction(adjustment, smoothing), temperature)))
