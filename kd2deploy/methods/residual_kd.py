"""Residual KD: a student imitates the teacher's features, and an assistant learns what it leaves; both are deployed.

Source: Gao, Shen, Li, Loy, "Residual Knowledge Distillation", 2020, arXiv:2002.09168; Gao, Wang, Wan, "Residual error
based knowledge distillation", Neurocomputing 2021.
Departs from it: we could confirm the idea, that both networks are made of one small model, and that a progressive and
an end-to-end training exist, not the formulas, and no code of the authors is public. So these are ours: squared errors
as means over features and rows, weights of 1, and that the student learns from its own answer also where both are
trained at once. Features are what the heads read, pooled, where theirs are maps. There is no common classifier of the
sum of features: each network has a linear head and their logits are summed, so that the assistant's head stands for the
classifier times the map of its features to the teacher's width. Widths that differ are mapped linearly to that of the
teacher; the student's map learns also where its features are detached, for no stage hands its maps to the next. Stages
are entries under `distill`; the network that a stage does not train stands still, dropout and moving averages too.
"""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Method, Networks, Observation, Sizes, Step, TaskLoss, Term, Weighted
from kd2deploy.core.figures import count_of
from kd2deploy.core.search import TermWeight
from kd2deploy.core.step import embedding_of
from kd2deploy.methods._divergence import mean_squared_error
from kd2deploy.methods._maths import need_one_of, need_weight, squared_distance
from kd2deploy.methods.attention import activation_map

Learns = Literal["student", "assistant", "both"]
Transfer = Literal["l2", "attention"]
STUDENT, ASSISTANT = 0, 1
"""Places among the members of the network that is deployed."""
REMEDY = "write `student: {members: [{shrink: ...}, {shrink: ...}], combine: sum}`, the student first"


def residual_error(
    assistant: Float[Tensor, "B D"], student: Float[Tensor, "B D"], teacher: Float[Tensor, "B D"]
) -> Float[Tensor, ""]:
    """Squared error of the assistant's features against the teacher's less the student's, mean over all of a batch."""
    return mean_squared_error(assistant, teacher - student).mean()


def need_pair(nets: Networks) -> tuple[Sizes, Sizes, Sizes]:
    """Student's, assistant's and teacher's sizes, or an error where the networks are others."""
    teacher = nets.need_teacher_sizes("residual_kd")
    members = nets.student_sizes.members
    if len(members) != 2:
        told = f"of {count_of(len(members), 'network')}" if members else "a single network"
        raise ValueError(f"residual_kd trains a student and its assistant, and this student is {told}; {REMEDY}")
    if not nets.student_sizes.summed:
        raise ValueError(f"residual_kd adds the assistant's answer to the student's, and these are averaged; {REMEDY}")
    student, assistant = members
    return student, assistant, teacher


def need_features(nets: Networks) -> tuple[int, int, int]:
    """Widths of the three networks' features, or an error where one gives none."""
    widths = [sizes.embedding for sizes in need_pair(nets)]
    for who, width in zip(("student", "assistant", "teacher"), widths, strict=True):
        if width < 1:
            raise ValueError(f"residual_kd compares embeddings, and the {who} gives none; use logit")
    student, assistant, teacher = widths
    return student, assistant, teacher


def map_between(width: int, target: int) -> nn.Module:
    return nn.Identity() if width == target else nn.Linear(width, target)


class OwnLoss(Term):
    """The task's loss of the student's own answer. `alone`: the assistant stands still."""

    needs = frozenset({"labels", "members"})

    def __init__(self, alone: bool) -> None:
        super().__init__()
        self.alone = alone

    def bind(self, nets: Networks) -> None:
        need_pair(nets)
        if self.alone:
            self.still = (nets.members[ASSISTANT],)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        loss = step.student().members[STUDENT].loss
        assert loss is not None, "a task shows its loss where labels are needed"
        return loss


class Features(Term):
    """Squared error between the student's features, mapped where widths differ, and the teacher's."""

    needs = frozenset({"teacher", "embedding", "members"})

    def __init__(self, mapped: Callable[[Observation], Tensor] | None = None) -> None:
        """`mapped` gives the student's features in the teacher's width; None: by a map of this term's own."""
        super().__init__()
        self.given = mapped
        self.of_student: nn.Module = nn.Identity()

    def bind(self, nets: Networks) -> None:
        student, _, teacher = need_features(nets)
        if self.given is None:
            self.of_student = map_between(student, teacher)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student = step.student().members[STUDENT]
        mine = self.of_student(embedding_of(student)) if self.given is None else self.given(student)
        return mean_squared_error(mine.float(), embedding_of(step.teacher())).mean()


class LastMap(Term):
    """Squared distance of the two networks' last activation maps (attention transfer), mean over the rows."""

    needs = frozenset({"teacher", "hidden", "members"})

    def bind(self, nets: Networks) -> None:
        student, _, teacher = need_pair(nets)
        if not (student.hidden and teacher.hidden):
            raise ValueError("residual_kd: one of the networks shows no hidden states; use transfer: l2")
        if not nets.shares_inputs or student.positions != teacher.positions:
            raise ValueError(
                f"residual_kd: the student has {student.positions} positions and the teacher {teacher.positions}, and "
                "activation maps are compared one by one; use transfer: l2"
            )

    def forward(self, step: Step) -> Float[Tensor, ""]:
        mine, theirs = (
            activation_map(seen.hidden[-1].float(), seen.mask)
            for seen in (step.student().members[STUDENT], step.teacher())
        )
        return squared_distance(mine, theirs).mean()


class Residual(Term):
    """`residual_error` of features that are mapped where widths differ. `detached`: the student stands still."""

    needs = frozenset({"teacher", "embedding", "members"})

    def __init__(self, detached: bool) -> None:
        super().__init__()
        self.detached = detached
        self.of_student: nn.Module = nn.Identity()
        self.of_assistant: nn.Module = nn.Identity()

    def bind(self, nets: Networks) -> None:
        student, assistant, teacher = need_features(nets)
        self.of_student, self.of_assistant = map_between(student, teacher), map_between(assistant, teacher)
        if self.detached:
            self.still = (nets.members[STUDENT],)

    def of(self, student: Observation) -> Float[Tensor, "B D"]:
        """The student's features in the teacher's width."""
        found = embedding_of(student)
        mapped: Tensor = self.of_student(found.detach() if self.detached else found)
        return mapped.float()

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, assistant = step.student().members
        mine: Tensor = self.of_assistant(embedding_of(assistant))
        return residual_error(mine.float(), self.of(student), embedding_of(step.teacher()))


def residual_kd(
    learns: Learns = "both", transfer: Transfer = "l2", features: TermWeight = 1.0, residual: TermWeight = 1.0
) -> Method:
    """Of a student and an assistant whose logits are summed. `learns: student`: the student's own task loss +
    features * error of its features; then, in another entry, `assistant`: the task loss of the sum + residual * error
    of what the student leaves. `both`: all of these at once, end to end; the residual's gradient reaches the student.

    `transfer`: the student's error: of its features (`l2`), or of its last activation map (`attention`).
    """
    need_one_of(("student", "assistant", "both"), learns=learns)
    need_one_of(("l2", "attention"), transfer=transfer)
    need_weight(features=features, residual=residual)
    left = Residual(detached=learns == "assistant")
    mapped = left.of if learns == "both" else None
    terms = {
        "own": Weighted(OwnLoss(alone=learns == "student")),
        "features": Weighted(Features(mapped) if transfer == "l2" else LastMap(), features),
        "task": Weighted(TaskLoss()),
        "residual": Weighted(left, residual),
    }
    chosen = {"student": ("own", "features"), "assistant": ("task", "residual"), "both": tuple(terms)}[learns]
    return Method(**{name: terms[name] for name in chosen})
