"""L-MCL: two networks learn together, layer from layer, and a small network learns which layer is to heed which.

Source: Yang, An, Zhou, Zhuang, Xu, Zhang, "Online Knowledge Distillation via Mutual Contrastive Learning for Visual
Recognition", TPAMI 2023, arXiv:2207.11518, and the authors' code for CIFAR: the four losses of `mutual` between each of
three layers of the one network and each of the other, both ways, each row's losses times a weight in (0, 1), the
sigmoid of the cosine of two linear maps of their features. The weights are learnt bi-level: every 50 mini-batches,
two steps down the weighted losses and one down the labels' loss are imagined, and the weights follow what the labels'
loss is after them.
Departs from it: a part is left out. Their early layers have branches, copies of all later stages with a classifier of
their own, which cannot be had of any network. So there are no labels' losses of early layers, and no
answer gated together of all layers' answers that each network learns from; `soft` is the soft targets of the mean of
both networks' answers in its place, off by default. An early layer's features are its states' mean over the positions,
the last layer's are what the classification head reads, and early layers stand at equal distances. The student is
deployed; its peer begins with its weights at random places, as in `mutual`. The weights' rate is constant. The rate of
the imagined steps, plain gradients, is `imagined`, and ours: theirs are those of the networks' own optimizer, which a
method does not see. Where what the labels' loss tells is no number, the weights stay.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from kd2deploy.core import Batch, Method, Networks, Observation, Progress, Step, TaskNetworks, Term, Weighted
from kd2deploy.core.search import ContrastTemperature, TermWeight
from kd2deploy.methods._layers import SHOWN, Both, Seen, for_each, levels_of, seen_by, stepped, through
from kd2deploy.methods._maths import (
    need_classes,
    need_exclusive_classes,
    need_one_answer_per_row,
    need_positive,
    need_weight,
)
from kd2deploy.methods._two_players import learning
from kd2deploy.methods.mutual import (
    MeanAnswer,
    similarities,
    soft_contrast,
    supervised_contrast,
    total,
    with_weights_shuffled,
)

NEEDS = frozenset({"labels", "logits", *SHOWN})
WIDTH = 128
"""Of the vectors whose cosine makes a weight: the authors' code."""
IMAGINED = 2
"""Steps down the weighted losses, before one down the labels' loss: the authors' code."""


class Shares(NamedTuple):
    """How much each of the four losses weighs, and the temperature of the similarities."""

    vcl: float
    icl: float
    soft_vcl: float
    soft_icl: float
    temperature: float


class Rates(NamedTuple):
    """How the weights learn."""

    every: int
    """Mini-batches from one time to the next."""
    weight_rate: float
    imagined: float


def weight_of(one: Float[Tensor, "B D"], other: Float[Tensor, "B D"]) -> Float[Tensor, "B"]:
    """Sigmoid of the product of each row's vectors of length 1: from 0.27 to 0.73."""
    return (one * other).sum(-1).sigmoid()


def pair_loss(
    learner: Float[Tensor, "B D"],
    peer: Float[Tensor, "B D"],
    labels: Int64[Tensor, "B"],
    weights: Float[Tensor, "B"],
    shares: Shares,
) -> Float[Tensor, ""]:
    """The four losses of one layer, which learns, and a layer of the other network, each row's times its weight."""
    at = shares.temperature
    own, theirs = similarities(learner, learner, at), similarities(peer, peer, at)
    there, back = similarities(learner, peer, at), similarities(peer, learner, at)
    return (
        shares.vcl * supervised_contrast(own, labels, weights)
        + shares.icl * supervised_contrast(there, labels, weights)
        + shares.soft_vcl * soft_contrast(own, theirs, weights)
        + shares.soft_icl * soft_contrast(there, back, weights)
    )


class Together(Term):
    """The sum of both networks' task losses. It holds the student's peer, a head for every layer of both, and what
    learns the weights, which it has learn before the first of every few mini-batches."""

    needs = NEEDS
    optimizes_itself = True
    rows_of_a_class = 2

    def __init__(self, levels: int, dim: int, shares: Shares, rates: Rates) -> None:
        super().__init__()
        need_positive(levels=levels, dim=dim, temperature=shares.temperature, **rates._asdict())
        self.levels, self.dim, self.shares, self.rates = levels, dim, shares, rates
        self.cycle = rates.every
        self.turn = 0
        self.last: tuple[Step, Seen] | None = None

    def bind(self, nets: Networks) -> None:
        need_exclusive_classes(nets, "lmcl")
        need_classes(nets, "lmcl", least=2)
        need_one_answer_per_row(nets, "lmcl")
        sizes = nets.student_sizes
        if sizes.embedding < 1:
            raise ValueError("lmcl compares embeddings, and the student gives none; use another student")
        self.blocks = levels_of(sizes.blocks, self.levels)
        widths = [*(sizes.hidden[block] for block in self.blocks), sizes.embedding]
        self.peer = with_weights_shuffled(nets.student)
        self.heads = for_each(widths, self.dim, hidden=True)
        self.weights = for_each(widths, WIDTH, hidden=False).requires_grad_(False)
        # inside a tuple no network is registered as a submodule
        self.known: tuple[TaskNetworks, nn.Module] = (nets.task.networks, nets.student)

    def tick(self, progress: Progress) -> None:
        self.last = None

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return self.task_loss(self.seen(step))

    def answers(self, step: Step) -> Sequence[Observation]:
        return self.seen(step).observations

    def seen(self, step: Step) -> Seen:
        """What both show; the peer is run, and the weights learn, once for all terms."""
        if self.last is None or self.last[0] is not step:
            turn, self.turn = self.turn, self.turn + 1
            shown = step.pairs["clean"].look.student
            if turn % self.rates.every == 0 and torch.is_grad_enabled():
                self.learn(shown, step.batch["labels"])
            found = (step.student(), self.known[0].observe(self.peer, shown, needs=SHOWN))
            self.last = step, seen_by(found, self.heads, self.blocks)
        return self.last[1]

    def task_loss(self, seen: Seen) -> Float[Tensor, ""]:
        return total(one.loss for one in seen.observations if one.loss is not None)

    def contrast(self, step: Step) -> Float[Tensor, ""]:
        return self.contrast_of(self.seen(step), step.batch["labels"])

    def contrast_of(self, seen: Seen, labels: Int64[Tensor, "B"]) -> Float[Tensor, ""]:
        """Summed over ordered pairs: every layer of each network learns from every layer of the other. The weights are
        the networks' to take as they are."""
        weights = through(self.weights, [[one.detach() for one in own] for own in seen.features])
        layers = range(len(self.blocks) + 1)
        return total(
            pair_loss(
                seen.vectors[one][layer],
                seen.vectors[other][heeded],
                labels,
                weight_of(weights[one][layer], weights[other][heeded]),
                self.shares,
            )
            for one, other in ((0, 1), (1, 0))
            for layer, heeded in product(layers, layers)
        )

    def learn(self, shown: Batch, labels: Int64[Tensor, "B"]) -> None:
        """One step of what learns the weights; both networks stay as they are.

        Attention is computed plainly meanwhile: its faster forms have no second derivative.
        """
        with learning(self.weights) as learnt, sdpa_kernel(SDPBackend.MATH):
            gradients = torch.autograd.grad(self.loss_after(shown, labels), learnt, allow_unused=True)
        if not all(one is None or bool(one.isfinite().all()) for one in gradients):
            return
        with torch.no_grad():
            for weight, gradient in zip(learnt, gradients, strict=True):
                if gradient is not None:
                    weight.sub_(self.rates.weight_rate * gradient)

    def loss_after(self, shown: Batch, labels: Int64[Tensor, "B"]) -> Float[Tensor, ""]:
        """The labels' loss after imagined steps down the weighted losses and one down the labels' own."""
        kind, student = self.known
        both = Both(kind.observe, (student, self.peer), self.heads)
        own = {name: one.detach().requires_grad_(True) for name, one in both.named_parameters() if one.requires_grad}

        def seen(weights: Mapping[str, Tensor]) -> Seen:
            buffers = {name: one.clone() for name, one in both.named_buffers()}
            found: Seen = functional_call(both, {**weights, **buffers}, (shown, self.blocks))
            return found

        for _ in range(IMAGINED):
            own = stepped(self.contrast_of(seen(own), labels), own, self.rates.imagined)
        own = stepped(self.task_loss(seen(own)), own, self.rates.imagined)
        return self.task_loss(seen(own))

    def get_extra_state(self) -> dict[str, Any]:
        return {"turn": self.turn}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        self.turn = state["turn"]


class Contrast(Term):
    """The weighted losses between all layers of both networks."""

    needs = NEEDS
    rows_of_a_class = 2

    def __init__(self, contrast: Callable[[Step], Tensor]) -> None:
        super().__init__()
        self.contrast = contrast

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return self.contrast(step)


def lmcl(
    levels: int = 3,
    temperature: ContrastTemperature = 0.1,
    dim: int = 128,
    vcl: TermWeight = 0.1,
    icl: TermWeight = 0.1,
    soft_vcl: TermWeight = 1.0,
    soft_icl: TermWeight = 1.0,
    every: int = 50,
    weight_rate: float = 0.1,
    imagined: float = 0.01,
    soft: TermWeight = 0.0,
) -> Method:
    """task losses of two networks + the four contrastive losses between all their layers, weighted row by row + soft *
    soft targets.

    `levels`: layers of each network that learn and teach; 1 is the embedding alone. The weights learn before the first
    of every `every` mini-batches, which then costs many times another. No teacher is needed.
    """
    need_weight(vcl=vcl, icl=icl, soft_vcl=soft_vcl, soft_icl=soft_icl, soft=soft)
    shares = Shares(vcl, icl, soft_vcl, soft_icl, temperature)
    together = Together(levels, dim, shares, Rates(every, weight_rate, imagined))
    terms = {"task": Weighted(together), "contrast": Weighted(Contrast(together.contrast))}
    if soft:
        terms["soft"] = Weighted(MeanAnswer(together.answers), soft)
    return Method(**terms)
