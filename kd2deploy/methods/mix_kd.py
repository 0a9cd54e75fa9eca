"""MixKD: the student also imitates the teacher, and learns mixed labels, on interpolations of pairs of rows.

Source: Liang, Hao, Shen, Zhou, Chen, Chen, Carin, "MixKD: Towards Efficient Distillation of Large-scale Language
Models", ICLR 2021, arXiv:2011.00593, section 3.
Departs from it: no back-translated rows. The input that is mixed is the task's own continuous one: word embeddings
(each network's own) for text, pixels for images. We could not confirm the paper's values: Beta(0.4, 0.4), one draw per
row, and both weights 1 are ours, as is the mean over classes in the squared distance of logits. Segment ids stay the
row's own. A row mixed with an unlabelled one has no mixed label: it teaches by the teacher's answer alone.
"""

from typing import Annotated

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kd2deploy.core import Method, Networks, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import Around, TermWeight
from kd2deploy.core.step import answer_of
from kd2deploy.methods._maths import need_equal_classes, need_one_answer_per_row, need_positive, need_weight
from kd2deploy.methods._mixing import KEPT, PARTNER, InputMixup, beta_pairs, mixed_label_loss


class MixedLabels(Term):
    """`mixed_label_loss` of the student in the mixed view."""

    needs = frozenset({"labels"})
    views = ("mix",)

    def bind(self, nets: Networks) -> None:
        need_one_answer_per_row(nets, "mix_kd with student_mixup above 0")

    def forward(self, step: Step) -> Float[Tensor, ""]:
        shown = step.pairs["mix"].look.student
        answers = answer_of(step.student("mix")).float()
        return mixed_label_loss(answers, step.batch["labels"], shown[KEPT], shown[PARTNER])


class MixedLogits(Term):
    """Mean squared difference between the two networks' logits on the mixed input."""

    needs = frozenset({"teacher"})
    views = ("mix",)

    def bind(self, nets: Networks) -> None:
        need_equal_classes(nets, "mix_kd")

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return F.mse_loss(*step.answers("mix"))


def mix_kd(
    student_mixup: TermWeight = 1.0, teacher_mixup: TermWeight = 1.0, concentration: Annotated[float, Around(2.0)] = 0.4
) -> Method:
    """task loss + student_mixup * loss of the mixed labels + teacher_mixup * distance to the teacher on mixed inputs.

    `concentration`: of the Beta distribution of the mixing share.
    """
    need_weight(student_mixup=student_mixup, teacher_mixup=teacher_mixup)
    need_positive(concentration=concentration)
    terms = {"task": Weighted(TaskLoss())}
    if student_mixup:
        terms["student_mixup"] = Weighted(MixedLabels(), student_mixup)
    if teacher_mixup:
        terms["teacher_mixup"] = Weighted(MixedLogits(), teacher_mixup)
    return Method(InputMixup(beta_pairs(concentration)), **terms)
