"""Frame-level distillation of a CTC network: in every frame the student's posterior nears the teacher's.

Source: Yoon et al., "Inter-KD: Intermediate Knowledge Distillation for CTC-Based Automatic Speech Recognition", 2022,
arXiv:2211.15075: the distillation of the final output, a squared l2 distance because a divergence is unstable on CTC's
peaked posteriors. The blank is a class like any other.
Departs from it: no authors' code was found; that the distance is of probabilities, squared, summed over the classes and
averaged over the frames is from memory. The mean is taken over a row's frames and then over the rows. A teacher of
another frame rate is interpolated to the student's frames. The weight is ours. Where there is one answer per row, that
is its one frame.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kd2deploy.core import Method, Networks, Observation, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import TermWeight
from kd2deploy.core.step import UndeclaredError, answers_positions
from kd2deploy.methods._maths import (
    mean_over_positions,
    need_equal_classes,
    need_exclusive_classes,
    need_weight,
    squared_distance,
)


def posterior_distance(student: Float[Tensor, "*B C"], teacher: Float[Tensor, "*B C"]) -> Float[Tensor, "*B"]:
    """Squared l2 distance, 0..2, between the softmax of the student's logits and the teacher's probabilities."""
    return squared_distance(student.softmax(-1), teacher)


def interpolated(
    probabilities: Float[Tensor, "B T C"], counted: Int[Tensor, " B"], wanted: Int[Tensor, " B"], positions: int
) -> Float[Tensor, "B S C"]:
    """[B, positions, C]: each row's first `counted` distributions, spread evenly over `wanted` positions.

    Linear between the middles of neighbours, so that what comes out sums to 1; equal numbers change nothing. Positions
    beyond `wanted` repeat the last.
    """
    steps = torch.arange(positions, device=probabilities.device)
    last = (counted - 1).clamp(min=0)[:, None]
    place = (steps + 0.5)[None] * (counted / wanted.clamp(min=1))[:, None] - 0.5
    place = place.clamp(min=0).minimum(last)
    before = place.floor().long()
    share = (place - before)[..., None]
    return at_places(probabilities, before) * (1 - share) + at_places(probabilities, (before + 1).minimum(last)) * share


def at_places(values: Float[Tensor, "B T C"], places: Int[Tensor, "B S"]) -> Float[Tensor, "B S C"]:
    """Each row's values at the row's own places."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[-1]))


def targets(student: Observation, teacher: Observation) -> Tensor:
    """The teacher's posteriors where the student answers: as they are, or interpolated where frames differ."""
    mine, theirs = logits_of(student), logits_of(teacher).softmax(-1)
    if mine.shape == theirs.shape:
        return theirs
    return interpolated(theirs, frames_of(teacher, theirs), frames_of(student, mine), mine.shape[1])


def frames_of(seen: Observation, logits: Float[Tensor, "B T C"]) -> Int[Tensor, " B"]:
    """How many frames of each row count."""
    if seen.mask is None:
        return torch.full((logits.shape[0],), logits.shape[1], device=logits.device)
    return seen.mask.sum(1)


def logits_of(seen: Observation) -> Tensor:
    if seen.logits is None:
        raise UndeclaredError("logits", "reads scores of classes of a task that shows values")
    return seen.logits.float()


def mean_over_frames(each: Float[Tensor, "B *L"], mask: Bool[Tensor, "B T"] | None) -> Float[Tensor, ""]:
    """Mean over the frames that count, then over the rows; `mask` None where there is one answer per row."""
    return each.mean() if mask is None else mean_over_positions(each, mask).mean()


class Posteriors(Term):
    """Frame-averaged `posterior_distance` of student and teacher."""

    needs = frozenset({"teacher", "logits"})

    def __init__(self, method: str = "ctc_frame_kd") -> None:
        super().__init__()
        self.method = method

    def bind(self, nets: Networks) -> None:
        need_equal_classes(nets, self.method)
        need_exclusive_classes(nets, self.method)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student = step.student()
        each = posterior_distance(logits_of(student), targets(student, step.teacher()))
        return mean_over_frames(each, student.mask if answers_positions(student) else None)


def ctc_frame_kd(soft: TermWeight = 1.0) -> Method:
    """task loss + soft * distance of the posteriors."""
    need_weight(soft=soft)
    return Method(task=Weighted(TaskLoss()), frames=Weighted(Posteriors(), soft))
