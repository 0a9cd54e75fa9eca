"""Queries of a detector answer as the teacher's that they are matched with: its classes and its boxes.

Source: our choice, for no single paper is followed. The matching and the losses of boxes are those of Carion et al.,
"End-to-End Object Detection with Transformers", 2020, arXiv:2005.12872, with the teacher's confident queries in the
place of the labelled objects; soft classes are those of Hinton et al., 2015, arXiv:1503.02531.
Departs from it: soft classes have the temperature 1. Queries of which the teacher is not confident teach nothing.
Every pair is weighed by the teacher's confidence, and the mean is taken by these over a batch. The threshold and the
weight of the classes are ours, the weights of the boxes are DETR's.
"""

from jaxtyping import Float
from torch import Tensor

from kd2deploy.core import Method, Networks, Progress, Step, TaskLoss, Term, Weighted, averaged
from kd2deploy.core.search import TermWeight
from kd2deploy.methods._maths import need_equal_classes, need_share, need_weight
from kd2deploy.methods._queries import (
    TINY,
    boxes_of,
    corners,
    divergence,
    generalized_overlap,
    logits_of,
    matched_queries,
)


def weighted_mean(values: Float[Tensor, "N"], weights: Float[Tensor, "N"]) -> Float[Tensor, ""]:
    """0, in the graph, where there is nothing. The mean is over the pairs of all processes."""
    return (values * weights).sum() / averaged(weights.sum()).clamp(min=TINY)


class Matching:
    """Which query of the student's answers for which of the teacher's, found once a step for all terms."""

    def __init__(self, confident: float) -> None:
        self.confident = confident
        self.last: tuple[Step, tuple[Tensor, Tensor, Tensor, Tensor]] | None = None

    def pairs(self, step: Step) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self.last is None or self.last[0] is not step:
            self.last = step, matched_queries(step.student(), step.teacher(), self.confident)
        return self.last[1]


class OfQueries(Term):
    """A term over matched queries."""

    needs = frozenset({"teacher", "logits"})

    def __init__(self, matching: Matching) -> None:
        super().__init__()
        self.matching = matching

    def bind(self, nets: Networks) -> None:
        teacher = nets.need_teacher_sizes("detr_kd")
        for name, sizes in (("student", nets.student_sizes), ("teacher", teacher)):
            if not sizes.queries:
                raise ValueError(f"detr_kd compares queries and their boxes, and the {name} has none; use logit")
        need_equal_classes(nets, "detr_kd")
        if nets.student_sizes.background != teacher.background:
            raise ValueError(
                "detr_kd compares scores of classes: one of the networks has a class of finding nothing, and the other "
                "scores each class by itself; use a teacher of the student's kind, or fgd"
            )

    def tick(self, progress: Progress) -> None:
        self.matching.last = None


class SoftClasses(OfQueries):
    """`divergence` of the classes, mean over the pairs by the teacher's confidence."""

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.student(), step.teacher()
        rows, own, other, confidence = self.matching.pairs(step)
        each = divergence(logits_of(student)[rows, own], logits_of(teacher)[rows, other], student.background)
        return weighted_mean(each, confidence)


class BoxDistance(OfQueries):
    """Absolute differences of the four numbers, summed, mean over the pairs by the teacher's confidence."""

    def forward(self, step: Step) -> Float[Tensor, ""]:
        rows, own, other, confidence = self.matching.pairs(step)
        mine, theirs = boxes_of(step.student())[rows, own], boxes_of(step.teacher())[rows, other]
        return weighted_mean((mine - theirs).abs().sum(-1), confidence)


class BoxOverlap(OfQueries):
    """1 less the generalized overlap, 0..2, mean over the pairs by the teacher's confidence."""

    def forward(self, step: Step) -> Float[Tensor, ""]:
        rows, own, other, confidence = self.matching.pairs(step)
        mine, theirs = boxes_of(step.student())[rows, own], boxes_of(step.teacher())[rows, other]
        return weighted_mean(1 - generalized_overlap(corners(mine), corners(theirs)), confidence)


def detr_kd(
    classes: TermWeight = 1.0, boxes: TermWeight = 5.0, overlap: TermWeight = 2.0, confident: float = 0.3
) -> Method:
    """task loss + classes * divergence of matched queries' classes + boxes * distance of their boxes
    + overlap * (1 - generalized overlap).

    `confident`: the least probability of its likeliest class with which a query of the teacher's teaches.
    """
    need_weight(classes=classes, boxes=boxes, overlap=overlap)
    need_share(confident=confident)
    matching = Matching(confident)
    terms = {"task": Weighted(TaskLoss())}
    if classes:
        terms["classes"] = Weighted(SoftClasses(matching), classes)
    if boxes:
        terms["boxes"] = Weighted(BoxDistance(matching), boxes)
    if overlap:
        terms["overlap"] = Weighted(BoxOverlap(matching), overlap)
    return Method(**terms)
