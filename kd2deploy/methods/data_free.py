"""DDA: the student learns from inputs that a generator makes out of the teacher alone, ever harder for the student.

Source: Li, Zhang, He, Xie, Li, Qin, "Towards Effective Data-Free Knowledge Distillation via Diverse Diffusion
Augmentation", ACM MM 2024, arXiv:2410.17606, and the authors' code: before every 2000 mini-batches of the student a
new generator and its noise are trained for 200 steps, so that the teacher knows the inputs, that its batch
normalizations see what they saw in training (Yin et al., "Dreaming to Distill via DeepInversion", 2020,
arXiv:1912.08795), and that the student's own features do not tell how they are turned; the batch of least loss joins
the pool.
Departs from it: the bank that all begins with is the training's own data, which the data source of the same name makes;
a row of a batch is one of the pool's as often as the pool is large beside the bank. Each position of the last maps is
aligned by itself, where the authors' three convolutions have a middle one of 3 x 3; where the networks' positions
differ, the means over them. The head that tells turns learns before the student does and not after it, and it is plain:
a linear map and steps of plain gradients. What is added to the pool is kept in 16 bits. The pool has no variants: those
that diffusion makes of the bank are the data source's. One bank and pool serve both networks, so both must read alike.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from kd2deploy.core import (
    Batch,
    Look,
    Method,
    Networks,
    Step,
    TaskLoss,
    TaskNetworks,
    Term,
    View,
    Weighted,
    clean_look,
)
from kd2deploy.core.search import Around, TermWeight
from kd2deploy.core.step import embedding_of
from kd2deploy.methods._maths import (
    mean_over_positions,
    need_classes,
    need_exclusive_classes,
    need_hidden,
    need_one_answer_per_row,
    need_positive,
    need_weight,
)
from kd2deploy.methods._synthesis import NOISE, Range, made_by, normalizations, strangeness
from kd2deploy.methods._two_players import evaluating, learning
from kd2deploy.methods.hidden import hidden_distance
from kd2deploy.methods.logit import SoftTargets

__all__ = ["NOISE", "Range", "data_free", "made_by", "normalizations", "strangeness"]

POOL = "pool"
"""The view's name."""
TURNS = 4
"""Quarters of a full turn, none among them."""
TURN_RATE = 0.1
"""Learning rate of the head that tells turns: the authors' code."""


def in_turns(
    kind: TaskNetworks, argument: str, inputs: Float[Tensor, "B ..."], labels: Int64[Tensor, "B"]
) -> tuple[Float[Tensor, "T ..."], Int64[Tensor, "T"]]:
    """Every input in four turns, one turn behind the other, and 4 * label + turn of each."""
    turned = [kind.turned({argument: inputs}, quarters) for quarters in range(1, TURNS)]
    others = [one[argument] for one in turned if one is not None]
    if len(others) < TURNS - 1:
        raise ValueError("data_free turns inputs by quarters, and these cannot be: make them square, or set turning: 0")
    return torch.cat([inputs, *others]), torch.cat([TURNS * labels + turn for turn in range(TURNS)])


class Pool(View):
    """The batch, in which rows of the pool stand for some of the bank's. Before the first of every `every` mini-batches
    the pool grows by `made` inputs that a new generator makes."""

    name = POOL
    needs = frozenset({"teacher", "embedding"})
    optimizes_itself = True

    def __init__(self, made: int, steps: int, every: int, turning: float) -> None:
        super().__init__()
        self.made, self.every, self.turning = made, every, turning
        self.cycle, self.own_steps = every, steps
        self.turn = 0
        self.inputs: Tensor | None = None
        self.labels: Tensor | None = None

    def bind(self, nets: Networks) -> None:
        teacher, _ = nets.need_teacher("data_free")
        need_exclusive_classes(nets, "data_free")
        need_classes(nets, "data_free", least=2)
        need_one_answer_per_row(nets, "data_free")
        kind, width = nets.task.networks, nets.student_sizes.embedding
        if not nets.shares_inputs:
            raise ValueError(
                "data_free shows both networks the same inputs, and they read theirs differently; give the student the "
                "teacher's preprocessor_config.json, or set made: 0"
            )
        if kind.synthesizer((1, 8, 8), 1) is None:  # asked for its kind alone
            raise ValueError("data_free makes inputs of noise, which this task's are not; use logit, or set made: 0")
        if not normalizations(teacher):
            raise ValueError(
                "data_free makes inputs by the teacher's batch normalizations, and it has none; use a "
                "teacher such as a ResNet, or set made: 0"
            )
        if self.turning and width < 1:
            raise ValueError("data_free turns the student's embedding into turns, and it gives none; set turning: 0")
        self.classes, self.rows = nets.student_sizes.classes, nets.rows
        self.turner = nn.Linear(max(1, width), TURNS * self.classes).requires_grad_(False)
        # inside a tuple no network is registered as a submodule
        self.networks: tuple[TaskNetworks, nn.Module, nn.Module] = (kind, nets.student, teacher)

    def forward(self, batch: Batch) -> Look:
        turn, self.turn = self.turn, self.turn + 1
        kind, student, _ = self.networks
        own = clean_look(batch).student
        argument, inputs = kind.continuous_input(student, own)
        if turn % self.every == 0:
            self.grow(argument, inputs)
        shown = self.mixed(own, argument, inputs)
        if self.turning:
            self.learn_turns(argument, shown[argument], shown["labels"])
        return Look(shown, shown)

    def grow(self, argument: str, like: Float[Tensor, "B ..."]) -> None:
        """Add inputs of random labels, of the shape and within the values of these, and forget the turns."""
        kind, student, teacher = self.networks
        labels = torch.randint(self.classes, (self.made,)).to(like.device)
        between, generator = Range.of(like.float()), kind.synthesizer(like.shape[1:], NOISE)
        assert generator is not None, "checked when the view was bound"

        def loss(made: Tensor) -> Tensor:
            inputs = between.values(made)
            found = strangeness(kind, teacher, {argument: inputs}, labels)
            return found - self.turning * self.turn_loss(argument, inputs, labels) if self.turning else found

        with torch.enable_grad(), evaluating(student):
            found = made_by(generator.to(like.device), self.made, self.own_steps, loss)
        added, answers = between.values(found).half().cpu(), labels.cpu()
        with torch.autocast(added.device.type, enabled=False):  # under bfloat16 it joins no halves
            self.inputs = added if self.inputs is None else torch.cat([self.inputs, added])
        self.labels = answers if self.labels is None else torch.cat([self.labels, answers])
        self.turner.reset_parameters()

    def mixed(self, own: Batch, argument: str, inputs: Float[Tensor, "B ..."]) -> Batch:
        """The batch with rows of the pool for some of its own: of both alike, as many as each has."""
        assert self.inputs is not None
        assert self.labels is not None
        size = len(self.inputs)
        chosen = torch.rand(len(inputs)) < size / (size + self.rows)
        places = torch.randint(size, (int(chosen.sum()),))
        chosen = chosen.to(inputs.device)
        found, labels = inputs.clone(), own["labels"].clone()
        found[chosen] = self.inputs[places].to(inputs)
        labels[chosen] = self.labels[places].to(labels)
        return own | {argument: found, "labels": labels}

    def turn_loss(self, argument: str, inputs: Float[Tensor, "B ..."], labels: Int64[Tensor, "B"]) -> Float[Tensor, ""]:
        """Cross-entropy (nats) of the turns and labels that the head reads off the student's embeddings."""
        kind, student, _ = self.networks
        turned, answers = in_turns(kind, argument, inputs, labels)
        seen = kind.observe(student, {argument: turned}, needs=frozenset({"embedding"}))
        return F.cross_entropy(self.turner(embedding_of(seen)).float(), answers)

    def learn_turns(self, argument: str, inputs: Float[Tensor, "B ..."], labels: Int64[Tensor, "B"]) -> None:
        """One step of the head alone, on rows that have a label."""
        known = labels >= 0
        if not known.any():
            return
        _, student, _ = self.networks
        with torch.enable_grad(), evaluating(student), learning(self.turner) as weights:
            loss = self.turn_loss(argument, inputs[known], labels[known])
            gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.sub_(TURN_RATE * gradient)

    def get_extra_state(self) -> dict[str, Any]:
        return {"turn": self.turn, "inputs": self.inputs, "labels": self.labels}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        self.turn, self.inputs, self.labels = state["turn"], state["inputs"], state["labels"]


# what the student learns -----------------------------------------------------------------------------------------


class Alignment(Term):
    """Mean squared difference between the student's last hidden state, after a map, and the teacher's."""

    needs = frozenset({"teacher", "hidden"})

    def __init__(self, view: str) -> None:
        super().__init__()
        self.view, self.views = view, (view,)

    def bind(self, nets: Networks) -> None:
        student, teacher = need_hidden(nets, "data_free")
        read, made = student.hidden[-1], teacher.hidden[-1]
        self.by_position = nets.shares_inputs and student.positions == teacher.positions
        self.map = nn.Sequential(
            nn.Linear(read, 2 * made), nn.ReLU(), nn.Linear(2 * made, 2 * made), nn.ReLU(), nn.Linear(2 * made, made)
        )

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.student(self.view), step.teacher(self.view)
        mine, theirs = self.map(student.hidden[-1].float()).float(), teacher.hidden[-1].float()
        if self.by_position:
            return hidden_distance(mine, theirs, student.mask)
        mine, theirs = mean_over_positions(mine, student.mask), mean_over_positions(theirs, teacher.mask)
        return F.mse_loss(mine, theirs)


def data_free(
    made: int = 400,
    steps: int = 200,
    every: int = 2000,
    turning: float = 10.0,
    temperature: Annotated[float, Around(2.0)] = 20.0,
    task: TermWeight = 1.0,
    soft: TermWeight = 1.0,
    alignment: TermWeight = 30.0,
) -> Method:
    """task * task loss + soft * soft targets + alignment * distance of the last hidden states, on bank and pool.

    The training's data are the bank: `data: {use: data_free}` makes one of the teacher. Before the first of every
    `every` mini-batches `made` inputs join the pool, of `steps` steps of a generator; `turning` weighs how little the
    student's embedding is to tell of their turn. 0 `made` leaves the bank alone.
    """
    need_positive(steps=steps, every=every)
    need_weight(made=made, turning=turning, task=task, soft=soft, alignment=alignment)
    views: tuple[View, ...] = (Pool(made, steps, every, turning),) if made else ()
    view = POOL if made else "clean"
    return Method(
        *views,
        task=Weighted(TaskLoss(view), task),
        soft=Weighted(SoftTargets(temperature, view, "data_free"), soft),
        alignment=Weighted(Alignment(view), alignment),
    )
