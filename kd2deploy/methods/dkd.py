"""Decoupled distillation: how sure the teacher is of the label, and how it ranks the rest, weighed apart.

Source: Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", CVPR 2022, arXiv:2203.08679, section 3.
Departs from it: the linear warm-up is given as a share of the training and is off by default; the authors' code warms
up over 20 of 240 epochs. The authors choose beta by the pair of networks: 2 at temperature 4 for small pairs, 8 for
large gaps on CIFAR-100, trained by SGD. That 2 is the default is ours, for at 8 nearly every step of AdamW is clipped.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from kd2deploy.core import Method, Networks, Progress, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import Temperature, TermWeight
from kd2deploy.methods._maths import need_one_answer_per_row, need_positive, need_same_classes, need_share, need_weight


def decoupled_kl(
    student: Float[Tensor, "N C"], teacher: Float[Tensor, "N C"], labels: Int64[Tensor, "N"], temperature: float
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"]]:
    """TCKD (label against the rest) and NCKD (among the rest), KL(teacher || student) in nats at `temperature`.

    KL = TCKD + (1 - pT(label)) * NCKD.
    """
    chosen = F.one_hot(labels, student.shape[-1]).bool()
    s, t = F.log_softmax(student / temperature, dim=-1), F.log_softmax(teacher / temperature, dim=-1)
    s_label, t_label = s[chosen], t[chosen]
    s_rest, t_rest = (log_p[~chosen].reshape(len(labels), -1) for log_p in (s, t))
    s_sum, t_sum = s_rest.logsumexp(-1), t_rest.logsumexp(-1)
    tckd = t_label.exp() * (t_label - s_label) + t_sum.exp() * (t_sum - s_sum)
    nckd = F.kl_div(s_rest - s_sum[:, None], t_rest - t_sum[:, None], reduction="none", log_target=True).sum(-1)
    return tckd, nckd


class Decoupled(Term):
    """alpha * TCKD + beta * NCKD, times the squared temperature, mean over the batch's labelled rows; 0 without any."""

    needs = frozenset({"teacher", "labels", "logits"})

    def __init__(self, temperature: float, alpha: float, beta: float) -> None:
        super().__init__()
        need_positive(temperature=temperature)
        need_weight(alpha=alpha, beta=beta)
        self.temperature = self.softens = temperature
        self.alpha, self.beta = alpha, beta

    def bind(self, nets: Networks) -> None:
        need_same_classes(nets, "dkd")
        need_one_answer_per_row(nets, "dkd")

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.logits()
        labels = step.batch["labels"]
        known = labels >= 0
        if not known.any():
            return student.sum() * 0.0
        tckd, nckd = decoupled_kl(student[known], teacher[known], labels[known], self.temperature)
        return (self.alpha * tckd + self.beta * nckd).mean() * self.temperature**2


def dkd(temperature: Temperature = 4.0, alpha: TermWeight = 1.0, beta: TermWeight = 2.0, warmup: float = 0.0) -> Method:
    """task loss + alpha * TCKD + beta * NCKD.

    `warmup`: the share of the training over which the two rise linearly to their weights. With two classes there is one
    class in the rest, and NCKD is 0.
    """
    need_share(warmup=warmup)

    def ramp(progress: Progress) -> float:
        return min(1.0, progress.done / warmup) if warmup else 1.0

    return Method(task=Weighted(TaskLoss()), decoupled=Weighted(Decoupled(temperature, alpha, beta), ramp))
