"""Backward-pass distillation: samples are moved up the gradient of the two networks' distance, and learned from too.

Source: Jafari, Rezagholizadeh, Ghodsi, "Improved Knowledge Distillation by Utilizing Backward Pass Knowledge in Neural
Networks", 2023, arXiv:2301.12006.
Departs from it: the paper makes the moved samples anew after some epochs and keeps them in between; here they are made
anew for every mini-batch, from its original inputs with the current student, so nothing is stored and they are never
stale. The student's dropout is off while samples are moved. For text the paper writes the teacher's embedding as Q
times the student's; here Q maps the displacement, and the teacher's own embedding is the start, so that with no step
both networks read the original. Q is fitted to the two tables of word embeddings when training starts and once per
epoch. The paper's step size, number of steps, weights and temperature are not known to us: 0.1, 3, 0.5 and 4 are ours,
and so is that original and moved samples weigh the same.
"""

import math
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Batch, Look, Method, Networks, Progress, TaskLoss, TaskNetworks, View, Weighted, clean_look
from kd2deploy.core.search import Around, Share, Temperature
from kd2deploy.core.step import counted_answers
from kd2deploy.methods._adversarial_text import need_one_vocabulary
from kd2deploy.methods._maths import need_equal_classes, need_positive, need_share, squared_distance
from kd2deploy.methods._two_players import evaluating
from kd2deploy.methods.logit import SoftTargets

MOVED = "moved"
"""The view's name."""


def least_squares_map(student: Float[Tensor, "V D1"], teacher: Float[Tensor, "V D2"]) -> Float[Tensor, "D1 D2"]:
    """Q of least norm that minimizes |student Q - teacher|^2; exactly the identity where the tables are equal.

    Solved by the normal equations in float64, whose cost does not grow with the square of the vocabulary.
    """
    if student.shape == teacher.shape and torch.equal(student, teacher):
        return torch.eye(student.shape[1], dtype=student.dtype, device=student.device)
    s, t = student.double(), teacher.double()
    found: Tensor = torch.linalg.pinv(s.T @ s, hermitian=True) @ (s.T @ t)
    return found.to(student.dtype)


class MovedSamples(View):
    """Inputs after `steps` ascents of |student - teacher|^2, without labels; one per row, from the row's own input."""

    name = MOVED
    needs = frozenset({"teacher"})
    token_map: Tensor
    fitted_in: Tensor

    def __init__(self, steps: int, rate: float) -> None:
        super().__init__()
        if steps < 0:
            raise ValueError(f"steps must be 0 or more, got {steps}")
        need_positive(rate=rate)
        self.steps, self.rate = steps, rate

    def bind(self, nets: Networks) -> None:
        teacher, _ = nets.need_teacher("backward_kd")
        need_equal_classes(nets, "backward_kd")
        # inside a tuple no network is registered as a submodule
        self.networks: tuple[TaskNetworks, nn.Module, nn.Module] = (nets.task.networks, nets.student, teacher)
        self.read = nets.task.inputs[0].name
        self.reads_words = nets.task.networks.token_table(nets.student) is not None
        if self.reads_words:
            need_one_vocabulary(nets, "backward_kd")
            self.register_buffer("token_map", self.fitted_map())
            self.register_buffer("fitted_in", torch.tensor(0))
        elif not nets.shares_inputs:
            raise ValueError(
                "backward_kd moves one input of both networks, and `student` and `teacher` read different ones; "
                "use networks with the same input size and normalization, or logit"
            )

    def tick(self, progress: Progress) -> None:
        epoch = math.floor(progress.epoch)
        if self.reads_words and epoch != int(self.fitted_in):
            self.token_map.copy_(self.fitted_map())
            self.fitted_in.fill_(epoch)

    @torch.no_grad()
    def fitted_map(self) -> Float[Tensor, "D1 D2"]:
        """`least_squares_map` of the two networks' word embeddings as they are now."""
        kind, student, teacher = self.networks
        mine, theirs = kind.token_table(student), kind.token_table(teacher)
        assert mine is not None, "checked when the view was bound"
        assert theirs is not None, "checked when the view was bound"
        return least_squares_map(mine, theirs)

    def forward(self, batch: Batch) -> Look:
        look = Look(*(unlabelled(own) for own in clean_look(batch)))
        starts = self.starts(look)
        displacement = self.displacement(look, starts)
        return self.moved(look, starts, displacement)

    def starts(self, look: Look) -> tuple[Tensor, Tensor]:
        """The original inputs as both networks take them, joined to the student's embeddings' graph."""
        kind, student, teacher = self.networks
        return kind.continuous_input(student, look.student)[1], kind.continuous_input(teacher, look.teacher)[1]

    def displacement(self, look: Look, starts: tuple[Tensor, Tensor]) -> Tensor:
        """How far the student's inputs move: `steps` times `rate` times the gradient, through both networks."""
        kind, student, teacher = self.networks
        fixed = (starts[0].detach(), starts[1].detach())
        moved_by = torch.zeros_like(fixed[0])
        with torch.enable_grad(), evaluating(student, teacher):
            for _ in range(self.steps):
                moved_by.requires_grad_(True)
                shown = self.moved(look, fixed, moved_by)
                mine, theirs = kind.observe(student, shown.student), kind.observe(teacher, shown.teacher)
                apart = squared_distance(counted_answers(mine), counted_answers(theirs)).sum()
                (gradient,) = torch.autograd.grad(apart, moved_by)
                moved_by = moved_by.detach() + self.rate * gradient
        return moved_by

    def moved(self, look: Look, starts: tuple[Tensor, Tensor], displacement: Tensor) -> Look:
        """Both networks' inputs, displaced: the teacher's by the mapped displacement."""
        kind, student, _ = self.networks
        argument, _ = kind.continuous_input(student, look.student)
        mapped = displacement @ self.token_map if self.reads_words else displacement
        return Look(
            replaced(look.student, self.read, argument, starts[0] + displacement),
            replaced(look.teacher, self.read, argument, starts[1] + mapped),
        )


def unlabelled(batch: Batch) -> Batch:
    return {name: value for name, value in batch.items() if name != "labels"}


def replaced(batch: Batch, read: str, argument: str, value: Tensor) -> Batch:
    """The batch with a continuous input in the place of what the networks read (words) or of itself."""
    return {name: kept for name, kept in batch.items() if name != read} | {argument: value}


def backward_kd(
    steps: int = 3, rate: Annotated[float, Around(4.0)] = 0.1, temperature: Temperature = 4.0, alpha: Share = 0.5
) -> Method:
    """(1 - alpha) * task loss + alpha * soft targets, the mean over the original and the moved samples.

    `steps` ascents of `rate` times the gradient of |student - teacher|^2 of raw logits: in the space of word
    embeddings for text, in the input itself elsewhere. With 0 steps it is logit.
    """
    need_share(alpha=alpha)
    return Method(
        MovedSamples(steps, rate),
        task=Weighted(TaskLoss(), 1 - alpha),
        soft=Weighted(SoftTargets(temperature, method="backward_kd"), alpha / 2),
        moved=Weighted(SoftTargets(temperature, MOVED, "backward_kd"), alpha / 2),
    )
