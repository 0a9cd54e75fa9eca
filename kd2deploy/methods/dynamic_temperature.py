"""Dynamic temperature distillation: every row has a temperature of its own, lower the harder the row is.

Source: Wen, Lai, Qian, "Preparing Lessons: Improve Knowledge Distillation with Better Supervision", Neurocomputing 454,
2021, arXiv:1911.07471, dynamic temperature distillation (DTD) with focal loss style weights (FLSW) or weights by the
student's confidence (CWSM), and with knowledge adjustment (DTD-KA).
Departs from it: we found no code of the authors; the formulas are those in which two re-implementations by others
agree. We could not confirm the paper's values: temperature 10, beta 40 and gamma 2 are what we take them to be; alpha
0.9, smoothing 0.1 and the floor of 1, below which no temperature falls, are ours. The paper has a label for every row;
here a row without one has a temperature like any other, and its target is not adjusted.
"""

from typing import Annotated, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kd2deploy.core import Method, Networks, Step, TaskLoss, Term, Weighted, gathered
from kd2deploy.core.search import Around
from kd2deploy.methods._maths import (
    TINY,
    need_one_answer_per_row,
    need_one_of,
    need_positive,
    need_same_classes,
    need_share,
    need_weight,
)
from kd2deploy.methods.knowledge_adjustment import Adjustment, Correction, corrected_kl

Hardness = Literal["flsw", "cwsm"]


def disagreement(student: Float[Tensor, "N C"], teacher: Float[Tensor, "N C"], gamma: float) -> Float[Tensor, "N"]:
    """FLSW: (1 - cosine of the two networks' logits) ** gamma, in 0..2 ** gamma."""
    return (1 - F.cosine_similarity(student, teacher, dim=-1, eps=TINY)).clamp(min=0) ** gamma


def doubt(student: Float[Tensor, "N C"]) -> Float[Tensor, "N"]:
    """CWSM: 1 over the student's highest probability, in 1..C."""
    return 1 / F.softmax(student, dim=-1).amax(-1)


def temperatures(hardness: Float[Tensor, "N"], base: float, beta: float, floor: float) -> Float[Tensor, "N"]:
    """base + beta * (mean hardness - hardness), not below `floor`: their mean is `base` where none is held there. The
    mean is over the rows of all processes."""
    return (base + beta * (gathered(hardness).mean() - hardness)).clamp(min=floor)


def unchanged(log_p: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
    return log_p


class DynamicTargets(Term):
    """Mean over the rows of the KL from the teacher to the student, each at its own temperature and times its square.

    Where there is a `correction` the labels correct the teacher's answer first.
    """

    def __init__(
        self,
        hardness: Hardness,
        temperature: float,
        beta: float,
        gamma: float,
        floor: float,
        correction: Correction | None = None,
    ) -> None:
        super().__init__()
        need_one_of(get_args(Hardness), hardness=hardness)
        need_positive(temperature=temperature, gamma=gamma, floor=floor)
        need_weight(beta=beta)
        if floor > temperature:
            raise ValueError(f"floor must not be above the temperature of {temperature:g}, got {floor:g}")
        self.hardness, self.beta, self.gamma, self.floor, self.correction = hardness, beta, gamma, floor, correction
        self.temperature = self.softens = temperature
        self.needs = frozenset({"teacher", "logits"} if correction is None else {"teacher", "logits", "labels"})

    def bind(self, nets: Networks) -> None:
        need_same_classes(nets, "dynamic_temperature")
        if self.correction is not None:
            need_one_answer_per_row(nets, "dynamic_temperature with an adjustment")

    @torch.no_grad()
    def of_rows(self, student: Float[Tensor, "N C"], teacher: Float[Tensor, "N C"]) -> Float[Tensor, "N"]:
        """Each row's temperature, without gradient."""
        hardness = doubt(student) if self.hardness == "cwsm" else disagreement(student, teacher, self.gamma)
        return temperatures(hardness, self.temperature, self.beta, self.floor)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.logits()
        temperature = self.of_rows(student, teacher)
        correct = unchanged if self.correction is None else self.correction.by(step.batch["labels"])
        return corrected_kl(student, teacher, temperature, correct).mean()


def dynamic_temperature(
    hardness: Hardness = "flsw",
    adjustment: Adjustment | None = None,
    temperature: Annotated[float, Around(2.0)] = 10.0,
    beta: float = 40.0,
    gamma: float = 2.0,
    alpha: float | None = None,
    smoothing: float = 0.1,
    floor: float = 1.0,
) -> Method:
    """(1 - alpha) * task loss + alpha * soft targets at every row's own temperature.

    Each parameter is one of the paper's choices or symbols. `hardness`: `flsw` takes the networks' disagreement to the
    power of `gamma`, `cwsm` the student's doubt. `beta`: how far a row's hardness moves its temperature away from
    `temperature`; with 0 it is logit. `adjustment`, `smoothing`: as in knowledge_adjustment. `alpha`: 0.9, or with an
    adjustment 1, which leaves no task loss, where it is not given.
    """
    if alpha is None:
        alpha = 0.9 if adjustment is None else 1.0
    need_share(alpha=alpha)
    correction = None if adjustment is None else Correction(adjustment, smoothing)
    soft = DynamicTargets(hardness, temperature, beta, gamma, floor, correction)
    return Method(task=Weighted(TaskLoss(), 1 - alpha), soft=Weighted(soft, alpha))
