"""Dual augmentation: teacher and student see the same rows augmented differently, and agree on which is which.

Source: Giakoumoglou, Stathaki, "Distilling Invariant Representations with Dual Augmentation", 2024, arXiv:2410.09474, a
report on preliminary results; its loss is that of the same authors' arXiv:2407.11802 (`dcd`).
Departs from it: we could confirm the idea and the loss, not the details, and no code of the authors is public. So these
are ours: which augmentations (the student's rows are the training's own, the teacher's another draw of them, or of what
`augment` says), that one direction is the default, and that the soft targets are the teacher's answers to the rows that
it is shown. The labels are learnt from the student's own rows alone. Both directions share the maps of the embeddings.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from kd2deploy.core import Batch, Look, Method, Networks, Progress, TaskLoss, View, Weighted, clean_look
from kd2deploy.core.search import Temperature, TermWeight
from kd2deploy.methods._maths import need_one_of, need_weight
from kd2deploy.methods.dcd import Consistent
from kd2deploy.methods.logit import SoftTargets

Views = Literal["single", "one_way", "symmetric"]


class There(View):
    """The student sees the batch, the teacher a second draw of its rows."""

    name = "there"
    needs = frozenset({"redraw"})

    def __init__(self, augment: Mapping[str, Any] | None) -> None:
        super().__init__()
        self.augment = augment
        self.last: Look | None = None

    def bind(self, nets: Networks) -> None:
        self.redraw = nets.need_redraw("dual_augmentation", self.augment)

    def tick(self, progress: Progress) -> None:
        self.progress, self.last = progress, None

    def forward(self, batch: Batch) -> Look:
        return Look(clean_look(batch).student, self.second(batch).teacher)

    def second(self, batch: Batch) -> Look:
        """The second draw, made once a step."""
        if self.last is None:
            self.last = clean_look(self.redraw(batch, self.progress))
        return self.last


class Back(View):
    """The other way round: the student sees the second draw, the teacher the batch."""

    name = "back"

    def __init__(self, second: Callable[[Batch], Look]) -> None:
        super().__init__()
        self.second = second

    def forward(self, batch: Batch) -> Look:
        return Look(self.second(batch).student, clean_look(batch).teacher)


def dual_augmentation(
    views: Views = "one_way",
    augment: dict[str, Any] | None = None,
    alpha: TermWeight = 0.5,
    beta: TermWeight = 1.0,
    dim: int = 128,
    soft: TermWeight = 0.0,
    temperature: Temperature = 4.0,
) -> Method:
    """task loss + beta * (discrimination + alpha * inconsistency) of rows augmented apart + soft * soft targets.

    `views`: `single` shows both networks the same, which is `dcd`; `one_way` shows the teacher a second draw;
    `symmetric` adds the same with the draws exchanged. `augment`: how the second draw is augmented; as the training
    says where it is left out.
    """
    need_one_of(("single", "one_way", "symmetric"), views=views)
    need_weight(beta=beta, soft=soft)
    there = There(augment)
    shown: tuple[View, ...] = {"single": (), "one_way": (there,), "symmetric": (there, Back(there.second))}[views]
    own = "there" if shown else "clean"
    compared = Consistent(alpha, dim, tuple(view.name for view in shown) or ("clean",), "dual_augmentation")
    terms = {"task": Weighted(TaskLoss(own)), "consistent": Weighted(compared, beta)}
    if soft:
        terms["soft"] = Weighted(SoftTargets(temperature, own, "dual_augmentation"), soft)
    return Method(*shown, **terms)
