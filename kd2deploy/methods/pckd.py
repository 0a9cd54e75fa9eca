"""PCKD: rows are compared with both networks' class centres, features and centres align, and hard rows wait their turn.

Source: Ding, Wu, Dong, Li, Qin, Gan, Nie, "Preview-based Category Contrastive Learning for Knowledge Distillation",
IEEE TCSVT 2025, arXiv:2410.14143, and the authors' code, which has temperature 4 and a growth of 1.005 an epoch.
Departs from it: the paper's weights are not known to us; soft 0.1, contrast 0.02, centres 1 and alignment 20 are ours.
The preview's weights have no gradient; in the code they have one in the soft targets. The features are what the
classification head reads, and the centres the rows of its weight. Turns are as in mlkd: a task whose rows cannot be
turned (texts) has none. A row without a label has the full weight and no other of its class. Cropping comes before
turning, not after it.
"""

import logging

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from kd2deploy.core import Method, Networks, Progress, Step, TaskLoss, Term, Weighted, gathered
from kd2deploy.core.search import Temperature, TermWeight
from kd2deploy.methods._groups import groups_of
from kd2deploy.methods._maths import (
    TINY,
    need_embeddings,
    need_one_answer_per_row,
    need_positive,
    need_same_classes,
    need_weight,
    normalized,
)
from kd2deploy.methods._turned import TURNED, Turned, turned_embeddings, upright_rows
from kd2deploy.methods.logit import softened_kl
from kd2deploy.methods.mlkd import Alignment, supervised_contrast

log = logging.getLogger(__name__)

CONTRAST_TEMPERATURE = 4.0
BASE_TEMPERATURE = 0.07
"""The contrast is multiplied by its temperature over this one, as in the code it comes from."""


def preview_weights(logits: Float[Tensor, "B C"], labels: Int64[Tensor, "B"], threshold: float) -> Float[Tensor, "B"]:
    """1 for a row whose cross-entropy, over the mean of the labelled rows', is at most `threshold`; otherwise exp of
    minus its square, in 0..1. 1 for a row without a label. Without gradient."""
    known = labels >= 0
    each = F.cross_entropy(logits.detach(), labels.clamp(min=0), reduction="none")
    relative = each / ((each * known).sum() / known.sum().clamp(min=1)).clamp(min=TINY)
    return torch.where((relative <= threshold) | ~known, 1.0, (-relative.square()).exp())


def threshold_in(progress: Progress, growth: float) -> float:
    """`growth` to the power of the epoch, which counts from 1."""
    return growth ** (int(progress.epoch) + 1)


def category_contrast(
    to_student: Float[Tensor, "N C"], to_teacher: Float[Tensor, "N C"], groups: Int64[Tensor, "N"]
) -> Float[Tensor, "N"]:
    """Of each row: `supervised_contrast` of its likenesses to the student's and to the teacher's centres, added up."""
    each = supervised_contrast(torch.cat([to_student, to_teacher]), groups.repeat(2), CONTRAST_TEMPERATURE)
    return each.reshape(2, -1).sum(0) * CONTRAST_TEMPERATURE / BASE_TEMPERATURE


def head_of(nets: Networks, net: nn.Module, whose: str) -> nn.Linear:
    """The layer whose weight's rows are the centres, or an error where it is not linear."""
    head = nets.task.networks.head(net)
    if not isinstance(head, nn.Linear):
        raise ValueError(
            f"pckd takes the rows of the head's weight as centres, and the {whose}'s head is {type(head).__name__}; "
            "use mlkd or dcd"
        )
    return head


def need_fitting(nets: Networks) -> None:
    """An error where a row has no one class, or the networks do not have the same ones."""
    need_same_classes(nets, "pckd")
    need_one_answer_per_row(nets, "pckd")


def answers(step: Step) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
    """Student's and teacher's logits of the rows as they stand, those of every process."""
    student, teacher = (gathered(logits[: upright_rows(step)]) for logits in step.logits(TURNED))
    return student, teacher


def labels_of(step: Step) -> Int64[Tensor, "B"]:
    return gathered(step.batch["labels"])


def previewed(step: Step, growth: float) -> Float[Tensor, "B"]:
    """`preview_weights` of the rows as they stand, by the student's answers."""
    return preview_weights(answers(step)[0], labels_of(step), threshold_in(step.progress, growth))


class PreviewedTargets(Term):
    """Soft targets of the rows as they stand, each times its preview weight; mean over the rows."""

    needs = frozenset({"teacher", "labels", "logits"})
    views = (TURNED,)

    def __init__(self, temperature: float, growth: float) -> None:
        super().__init__()
        need_positive(temperature=temperature, growth=growth)
        self.temperature = self.softens = temperature
        self.growth = growth

    def bind(self, nets: Networks) -> None:
        need_fitting(nets)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = answers(step)
        return (previewed(step, self.growth) * softened_kl(student, teacher, self.temperature)).mean()


class CategoryContrast(Term):
    """`category_contrast` of the student's projected features, each times its row's preview weight; mean over all."""

    needs = frozenset({"teacher", "embedding", "labels", "logits"})
    views = (TURNED,)

    def __init__(self, growth: float) -> None:
        super().__init__()
        need_positive(growth=growth)
        self.growth = growth

    def bind(self, nets: Networks) -> None:
        need_fitting(nets)
        width, _ = need_embeddings(nets, "pckd")
        self.heads = heads_of(nets)
        self.maps = nn.ModuleList(nn.Linear(width, head.in_features) for head in self.heads)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        features, _ = turned_embeddings(step)
        student, teacher = (head.weight.float() for head in self.heads)
        to_student, to_teacher = (
            normalized(mapped(features).float()) @ centres.T
            for mapped, centres in zip(self.maps, (student, teacher.detach()), strict=True)
        )
        each = category_contrast(to_student, to_teacher, groups_of(labels_of(step), len(features)))
        weights = previewed(step, self.growth)
        return (each * weights.repeat(len(each) // len(weights))).mean()


class CentreAlignment(Term):
    """Mean squared difference of the two heads' weights and offsets; 0 where they have different shapes."""

    needs = frozenset({"teacher"})
    views = (TURNED,)

    def bind(self, nets: Networks) -> None:
        self.heads = heads_of(nets)
        student, teacher = (list(centres_of(head).shape) for head in self.heads)
        if student != teacher:
            log.info("pckd: centres are not aligned, for the heads' shapes differ: %s and %s", student, teacher)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = (centres_of(head) for head in self.heads)
        if student.shape != teacher.shape:
            return student.new_zeros(())
        return F.mse_loss(student, teacher.detach())


def heads_of(nets: Networks) -> tuple[nn.Linear, nn.Linear]:
    """The student's and the teacher's heads: in a tuple, so that the term that keeps them does not register them."""
    teacher, _ = nets.need_teacher("pckd")
    return head_of(nets, nets.student, "student"), head_of(nets, teacher, "teacher")


def centres_of(head: nn.Linear) -> Float[Tensor, "C D1"]:
    """The head's weight with its offsets as a last column, where it has any."""
    offsets = [] if head.bias is None else [head.bias[:, None]]
    return torch.cat([head.weight, *offsets], dim=1).float()


def pckd(
    soft: TermWeight = 0.1,
    contrast: TermWeight = 0.02,
    centres: TermWeight = 1.0,
    alignment: TermWeight = 20.0,
    temperature: Temperature = 4.0,
    growth: float = 1.005,
) -> Method:
    """task loss + soft * previewed soft targets + contrast * category contrast + centres * centre alignment + alignment
    * feature alignment.

    `growth`: the threshold of the preview, over which a row's loss is too large for its full weight, is this to the
    power of the epoch; the default is for 240 epochs. `temperature`: of the soft targets.
    """
    need_weight(soft=soft, contrast=contrast, centres=centres, alignment=alignment)
    return Method(
        Turned(),
        task=Weighted(TaskLoss(TURNED)),
        soft=Weighted(PreviewedTargets(temperature, growth), soft),
        contrast=Weighted(CategoryContrast(growth), contrast),
        centres=Weighted(CentreAlignment(), centres),
        alignment=Weighted(Alignment("pckd"), alignment),
    )
