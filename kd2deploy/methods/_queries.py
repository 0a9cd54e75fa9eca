"""What the queries of a detector answer: scores of classes and boxes, the student's matched with the teacher's.

Source: Carion et al., "End-to-End Object Detection with Transformers", 2020, arXiv:2005.12872, for the costs of the
matching and the losses of boxes; Rezatofighi et al., 2019, arXiv:1902.09630, for the generalized overlap; Lin et al.,
"Focal Loss for Dense Object Detection", 2017, arXiv:1708.02002.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from kd2deploy.core import Observation
from kd2deploy.core.step import UndeclaredError

COSTS = (1.0, 5.0, 2.0)
"""Of the class, of the boxes' distance and of their overlap, in a matching: DETR's."""
BACKGROUND = 0.1
"""What a query that finds nothing weighs in the cross-entropy: DETR's."""
FOCUS, POSITIVE = 2.0, 0.25
"""Exponent and share of the focal loss."""
TINY = 1e-7
"""Area below which a box counts as none."""


# boxes ----------------------------------------------------------------------------------------------------------


def corners(boxes: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 4"]:
    """Left, top, right and bottom of boxes given as centre x, centre y, width and height."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def area(boxes: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B"]:
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def generalized_overlap(one: Float[Tensor, "*#B 4"], other: Float[Tensor, "*#B 4"]) -> Float[Tensor, "*#B"]:
    """Intersection over union, less the share of the smallest box around both that belongs to neither: -1..1."""
    common = torch.cat([torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])], -1)
    around = torch.cat([torch.minimum(one[..., :2], other[..., :2]), torch.maximum(one[..., 2:], other[..., 2:])], -1)
    intersection, whole = area(common), area(around)
    union = area(one) + area(other) - intersection
    return intersection / union.clamp(min=TINY) - (whole - union) / whole.clamp(min=TINY)


# classes --------------------------------------------------------------------------------------------------------


def probabilities(logits: Float[Tensor, "*B C"], background: bool) -> Float[Tensor, "*B K"]:
    """Of each class that something can be, the background's left out."""
    return logits.softmax(-1)[..., :-1] if background else logits.sigmoid()


def class_loss(
    logits: Float[Tensor, "B Q C"], matched: Int64[Tensor, "B Q"], classes: Int64[Tensor, "B T"], background: bool
) -> Float[Tensor, ""]:
    """How well queries name what they are matched to, place by place among `classes`, and -1 for nothing: cross-entropy
    in nats, in which finding nothing weighs a tenth; or the focal loss where each class is likely by itself."""
    nothing = logits.shape[-1] - 1 if background else logits.shape[-1]
    if classes.shape[1] == 0:
        wanted = torch.full_like(matched, nothing)
    else:
        wanted = classes.gather(1, matched.clamp(min=0)).where(matched >= 0, nothing)
    if background:
        weight = logits.new_ones(logits.shape[-1])
        weight[-1] = BACKGROUND
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight)
    targets = F.one_hot(wanted, nothing + 1)[..., :-1].to(logits.dtype)
    found = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    likely = logits.sigmoid()
    missed = (1 - likely).where(targets > 0, likely) ** FOCUS
    share = targets * POSITIVE + (1 - targets) * (1 - POSITIVE)
    return (share * missed * found).sum() / targets.sum().clamp(min=1)


def divergence(student: Float[Tensor, "N C"], teacher: Float[Tensor, "N C"], background: bool) -> Float[Tensor, "N"]:
    """KL(teacher || student) in nats of each query's classes; the sum of all where each is likely by itself."""
    if background:
        mine, theirs = F.log_softmax(student, -1), F.log_softmax(teacher, -1)
        return F.kl_div(mine, theirs, reduction="none", log_target=True).sum(-1)
    wanted = teacher.sigmoid()
    cross = F.binary_cross_entropy_with_logits(student, wanted, reduction="none")
    entropy = F.binary_cross_entropy_with_logits(teacher, wanted, reduction="none")
    return (cross - entropy).sum(-1)


# matching -------------------------------------------------------------------------------------------------------


def boxes_of(seen: Observation) -> Float[Tensor, "B Q 4"]:
    """Centre x, centre y, width and height of each query's box, in 0..1, float32."""
    return seen.extras["boxes"].float()


def logits_of(seen: Observation) -> Float[Tensor, "B Q C"]:
    if seen.logits is None:
        raise UndeclaredError("logits", "reads scores of classes of a task that shows values")
    return seen.logits.float()


def matching_cost(
    student: tuple[Float[Tensor, "Q K"], Float[Tensor, "Q 4"]],
    teacher: tuple[Float[Tensor, "P K"], Float[Tensor, "P 4"]],
) -> Float[Tensor, "Q P"]:
    """Of each query of the student's for each of the teacher's, both given as probabilities and boxes: less the
    probability of the teacher's likeliest class, plus the boxes' distance, less their overlap."""
    (likely, mine), (wanted, theirs) = student, teacher
    of_class, of_distance, of_overlap = COSTS
    return (
        -of_class * likely[:, wanted.argmax(-1)]
        + of_distance * torch.cdist(mine, theirs, p=1)
        - of_overlap * generalized_overlap(corners(mine)[:, None], corners(theirs)[None])
    )


@torch.no_grad()
def matched_queries(
    student: Observation, teacher: Observation, confident: float
) -> tuple[Int64[Tensor, "N"], Int64[Tensor, "N"], Int64[Tensor, "N"], Float[Tensor, "N"]]:
    """Row, student's query, teacher's query and the teacher's confidence, for each of the teacher's queries that is at
    least `confident` of a class: one of the student's to each, at the least cost. Both networks are of the student's
    kind."""
    kind = student.background  # which answers of a teacher's that were kept do not tell
    mine = probabilities(logits_of(student), kind), boxes_of(student)
    theirs = probabilities(logits_of(teacher), kind), boxes_of(teacher)
    confidence = theirs[0].amax(-1)
    found = []
    for row in range(len(confidence)):
        chosen = (confidence[row] >= confident).nonzero()[:, 0]
        cost = matching_cost((mine[0][row], mine[1][row]), (theirs[0][row][chosen], theirs[1][row][chosen]))
        own, other = map(torch.from_numpy, linear_sum_assignment(cost.nan_to_num().cpu().numpy()))
        found.append((torch.full_like(own, row), own, chosen[other.to(chosen.device)].cpu()))
    rows, own, other = (torch.cat(parts).to(confidence.device) for parts in zip(*found, strict=True))
    return rows, own, other, confidence[rows, other]
