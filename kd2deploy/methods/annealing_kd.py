"""Annealing-KD: first the student imitates the teacher's logits, scaled up step by step; then it learns the labels.

Source: Jafari, Rezagholizadeh, Sharma, Ghodsi, "Annealing Knowledge Distillation", EACL 2021, arXiv:2104.07163, section
3.
Departs from it: both phases are one training with one optimizer, as in its generalization by Jafari et al.,
"Continuation KD", 2022, arXiv:2212.05998; the squared distance is summed over classes and averaged over the batch.
Three quarters of the epochs for the first phase and t_max 10 are ours, and so is the rounding to whole epochs, one at
least for either phase; with a single epoch there is the first phase alone.
"""

from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from kd2deploy.core import Method, Networks, Progress, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import Around
from kd2deploy.methods._maths import annealing_factor, need_equal_classes, need_positive, need_share, phase_epochs


def annealed_distance(student: Float[Tensor, "N C"], teacher: Float[Tensor, "N C"], phi: float) -> Float[Tensor, ""]:
    """|zS - phi zT|^2, mean over the batch. The student's logits are not scaled."""
    return (student - phi * teacher).square().sum(-1).mean()


class AnnealedLogits(Term):
    """`annealed_distance` with phi rising over the first phase."""

    needs = frozenset({"teacher"})

    def __init__(self, t_max: int, until: float) -> None:
        super().__init__()
        need_positive(t_max=t_max)
        need_share(until=until)
        self.t_max, self.until = t_max, until

    def bind(self, nets: Networks) -> None:
        need_equal_classes(nets, "annealing_kd")

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.answers()
        epochs = phase_epochs(self.until, step.progress.epochs)
        return annealed_distance(student, teacher, annealing_factor(int(step.progress.epoch), epochs, self.t_max))


def annealing_kd(t_max: Annotated[int, Around(2.0)] = 10, until: float = 0.75) -> Method:
    """Distance to the annealed teacher until the share `until` of the epochs is done, then the task loss.

    `t_max`: in how many steps phi rises from 1 / t_max to 1 over the first phase.
    """

    def second(progress: Progress) -> float:
        return float(int(progress.epoch) >= phase_epochs(until, progress.epochs))

    return Method(
        task=Weighted(TaskLoss(), second),
        annealed=Weighted(AnnealedLogits(t_max, until), lambda progress: 1 - second(progress)),
    )
