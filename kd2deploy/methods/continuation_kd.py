"""Continuation-KD: from an easy objective, near a shrunken teacher within a margin, to the task loss, in one training.

Source: Jafari, Kobyzev, Rezagholizadeh, Poupart, Ghodsi, "Continuation KD: Improved Knowledge Distillation through the
Lens of Continuation Optimization", Findings of EMNLP 2022, arXiv:2212.05998, section 3 and algorithm 1.
Departs from it: T is lowered after every floor(n / t_max) epochs and held at 1, where the pseudo-code lowers it one
epoch early and lets phi overshoot 1 in the last epoch: that is not reproduced, for it would draw the student to logits
larger than the teacher's. psi starts at its formula's first value, not at the 0 of the text. The paper gives no margin:
1.0 is ours; so is the reading of the hinge: per row, on the squared distance summed over classes, then the mean over
the batch. A frozen psi stays at 0.5 and a frozen phi at 1, ours too, as is the rounding of shares to whole epochs. The
defaults of psi are those of its GLUE setting (i / 40 up to epoch 20 of 30); its CIFAR setting is psi_top 1, psi_until
0.75, t_max 20. With margin 0, psi_top 0 and phi_until = psi_until it is annealing_kd.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from jaxtyping import Float
from torch import Tensor

from kd2deploy.core import Method, Networks, Progress, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import Around
from kd2deploy.methods._maths import (
    annealing_factor,
    need_equal_classes,
    need_one_of,
    need_positive,
    need_share,
    need_weight,
    phase_epochs,
    squared_distance,
)

Frozen = Sequence[Literal["psi", "teacher", "margin"]]
FACTORS = ("psi", "teacher", "margin")


def hinge(student: Float[Tensor, "N C"], teacher: Float[Tensor, "N C"], phi: float, slack: float) -> Float[Tensor, "N"]:
    """max(0, |zS - phi zT|^2 - slack): zero, with zero gradient, within the slack."""
    return (squared_distance(student, phi * teacher) - slack).relu()


def psi(epoch: int, epochs: float, top: float, until: float) -> float:
    """The task loss's share: rises linearly to `top` at the share `until` of the epochs, then is 1. `epoch` from 0."""
    last = phase_epochs(until, epochs)
    return top * (epoch + 1) / last if epoch < last else 1.0


class MarginToTeacher(Term):
    """Mean of `hinge` with phi annealing both the teacher's logits and the margin."""

    needs = frozenset({"teacher"})

    def __init__(self, margin: float, t_max: int, until: float, frozen: Frozen = ()) -> None:
        super().__init__()
        need_weight(margin=margin)
        need_positive(t_max=t_max)
        self.margin, self.t_max, self.until, self.frozen = margin, t_max, until, tuple(frozen)

    def bind(self, nets: Networks) -> None:
        need_equal_classes(nets, "continuation_kd")

    def phi(self, progress: Progress) -> float:
        return annealing_factor(int(progress.epoch), phase_epochs(self.until, progress.epochs), self.t_max)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.answers()
        phi = self.phi(step.progress)
        of_margin = 1.0 if "margin" in self.frozen else phi
        return hinge(student, teacher, 1.0 if "teacher" in self.frozen else phi, self.margin * of_margin).mean()


def continuation_kd(
    margin: Annotated[float, Around(3.0)] = 1.0,
    t_max: Annotated[int, Around(2.0)] = 10,
    psi_top: float = 0.5,
    psi_until: float = 2 / 3,
    phi_until: float = 1.0,
    frozen: Frozen = (),
) -> Method:
    """psi * task loss + (1 - psi) * hinge on the squared distance to the annealed teacher's logits.

    `psi_top`, `psi_until`: psi rises to psi_top over that share of the epochs and is 1 afterwards. `phi_until`: the
    share of the epochs over which phi rises, in `t_max` steps, to 1. `frozen`: factors held still (for ablations).
    """
    need_share(psi_top=psi_top, psi_until=psi_until, phi_until=phi_until)
    for factor in frozen:
        need_one_of(FACTORS, frozen=factor)

    def of_task(progress: Progress) -> float:
        return 0.5 if "psi" in frozen else psi(int(progress.epoch), progress.epochs, psi_top, psi_until)

    return Method(
        task=Weighted(TaskLoss(), of_task),
        hinge=Weighted(MarginToTeacher(margin, t_max, phi_until, frozen), lambda progress: 1 - of_task(progress)),
    )
