"""MixKD: the student also imitates the teacher, and learns mixed labels, on interpolations of pairs of rows.

Source: Liang, Hao, Shen, Zhou, Chen, Chen, Carin, "MixKD: Towards Efficient Distillation of Large-scale Language
Models", ICLR 2021, arXiv:2011.00593, section 3.
Departs from it: no back-translated rows. The input that is mixed is the task's own continuous one: word embeddings
(each network's own) for text, pixels for images. We could not confirm the paper's values: Beta(0.4, 0.4), one draw per
row, and both weights 1 are ours, as is the mean over classes in the squared distance of logits. Segment ids stay the
row's own. A row mixed with an unlabelled one has no mixed label: it teaches by the teacher's answer alone.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from kd2deploy.core import Batch, Look, Method, Networks, Step, TaskLoss, Term, View, Weighted, clean_look
from kd2deploy.core.step import answer_of
from kd2deploy.methods._maths import need_equal_classes, need_one_answer_per_row, need_positive, need_weight

KEPT, PARTNER = "mix.kept", "mix.partner"
"""In a mixed look: the share [B] of the row itself, and which row [B] the rest came from."""
MASKS = ("attention_mask", "pixel_mask")

Draw = Callable[[int], tuple[Tensor, Tensor]]
"""From the rows of a batch to KEPT and PARTNER."""


def beta_pairs(concentration: float) -> Draw:
    """Every row's own share from Beta(concentration, concentration), and a random partner."""
    shares = torch.distributions.Beta(concentration, concentration)
    return lambda rows: (shares.sample((rows,)), torch.randperm(rows))


def mixed(
    values: Float[Tensor, "B *D"], kept: Float[Tensor, "B"], partner: Int64[Tensor, "B"]
) -> Float[Tensor, "B *D"]:
    """kept * x + (1 - kept) * x[partner], row by row."""
    share = kept.to(values.dtype).reshape(-1, *(1 for _ in values.shape[1:]))
    return share * values + (1 - share) * values[partner]


def mixed_label_loss(
    logits: Float[Tensor, "B *K C"], labels: Tensor, kept: Float[Tensor, "B"], partner: Int64[Tensor, "B"]
) -> Float[Tensor, ""]:
    """Cross-entropy (nats) with the mixed labels; for real-valued labels the squared error. Mean over the rows that are
    labelled and have a labelled partner, and over a row's K labels where it has several; 0, still in the graph, where
    there are none."""
    if labels.is_floating_point():
        known = ~labels.isnan()
        each = (logits.squeeze(-1) - mixed(labels.nan_to_num().to(logits.dtype), kept, partner)).square()
    else:
        known, truth = labels >= 0, labels.clamp(min=0)
        own, other = (cross_entropy_of(logits, wanted) for wanted in (truth, truth[partner]))
        share = kept.reshape(-1, *(1 for _ in labels.shape[1:]))
        each = share * own + (1 - share) * other
    both = known & known[partner]
    return (each * both).sum() / both.sum().clamp(min=1)


def cross_entropy_of(logits: Float[Tensor, "*B C"], labels: Int64[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none").reshape(labels.shape)


class InputMixup(View):
    """Mixes each network's continuous input with one draw for both; masks are united; the look has no labels."""

    name = "mix"

    def __init__(self, draw: Draw, method: str = "mix_kd") -> None:
        super().__init__()
        self.draw, self.method = draw, method

    def bind(self, nets: Networks) -> None:
        teacher, _ = nets.need_teacher(self.method)
        for net in (nets.student, teacher):
            nets.task.networks.token_table(net)  # raises where there are words that cannot be shown as vectors
        self.nets = nets

    def forward(self, batch: Batch) -> Look:
        look = clean_look(batch)
        first = next(iter(batch.values()))
        kept, partner = (drawn.to(first.device) for drawn in self.draw(len(first)))
        teacher, _ = self.nets.need_teacher(self.method)
        shown = self.mix(self.nets.student, look.student, kept, partner)
        with torch.no_grad():
            return Look(shown, self.mix(teacher, look.teacher, kept, partner))

    def mix(self, net: nn.Module, batch: Batch, kept: Tensor, partner: Tensor) -> Batch:
        name, values = self.nets.task.networks.continuous_input(net, batch)
        replaced = self.nets.task.inputs[0].name
        shown = {key: value for key, value in batch.items() if key not in (replaced, "labels")}
        united = {key: torch.maximum(shown[key], shown[key][partner]) for key in MASKS if key in shown}
        return shown | united | {name: mixed(values, kept, partner), KEPT: kept, PARTNER: partner}


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


def mix_kd(student_mixup: float = 1.0, teacher_mixup: float = 1.0, concentration: float = 0.4) -> Method:
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
