"""MCL: several networks learn together, each from the labels and from how it and the others see which rows are alike.

Source: Yang, An, Cai, Xu, "Mutual Contrastive Learning for Visual Representation Learning", AAAI 2022, and Yang, An,
Zhou, Zhuang, Xu, Zhang, "Online Knowledge Distillation via Mutual Contrastive Learning for Visual Recognition", TPAMI
2023, arXiv:2207.11518, and the authors' code for CIFAR: the vanilla, interactive, soft vanilla and soft interactive
losses, summed over networks and ordered pairs of them, temperature 0.1, soft temperature 3 with its square, weights
0.1, 0.1, 1 and 1, width 128, two rows of a class together in a batch.
Departs from it: the student is the first network, and it is the one that is deployed, where the authors report the best
network at its best epoch. Its peers are copies of it whose weights are its own at random places: where the student
starts from random weights these are random weights of the same kind, where it starts from a teacher's they have
unlearnt all. Every row comes once in an epoch, in pairs of a class in random order, where their sampler takes 64
different classes for a batch of 128; a class with an odd number of rows leaves one over. An anchor without another row
of its class in the batch, or without a label, has no positive: it is left out of the mean of the vanilla and
interactive losses, and is a negative of the others. With more than two networks the authors' optional soft targets
reach the last one alone, which here is the student. No memory bank and no momentum encoders, which they use for
ImageNet. L-MCL, whose layers learn from each other by learned weights, is `lmcl`.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import permutations
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from kd2deploy.core import Method, Networks, Observation, Progress, Step, Term, Weighted, counted_logits, gathered
from kd2deploy.core.search import ContrastTemperature, TermWeight
from kd2deploy.core.step import embedding_of
from kd2deploy.methods._groups import contrast_of_groups, groups_of, rows_with_others
from kd2deploy.methods._maths import (
    need_classes,
    need_exclusive_classes,
    need_one_answer_per_row,
    need_positive,
    need_weight,
    normalized,
    products,
)
from kd2deploy.methods.logit import softened_kl

SOFTNESS = 3.0
"""The authors' temperature of all soft targets, on top of the similarities' own."""


def supervised_contrast(
    similarity: Float[Tensor, "B B"], labels: Int64[Tensor, "B"], weights: Float[Tensor, "B"] | None = None
) -> Float[Tensor, ""]:
    """Mean of `contrast_of_groups`, times the row's weight where rows have one, over the rows that have another of
    their label; 0, in the graph, without any."""
    groups = groups_of(labels, len(labels))
    rows = contrast_of_groups(similarity, groups)
    return (rows if weights is None else weights * rows).sum() / rows_with_others(groups).clamp(min=1)


def soft_contrast(
    learner: Float[Tensor, "B B"], target: Float[Tensor, "B B"], weights: Float[Tensor, "B"] | None = None
) -> Float[Tensor, ""]:
    """KL(target || learner) in nats of each row's softened similarities to all rows, times the squared temperature and
    the row's weight where rows have one; mean over the rows. No gradient flows to the target."""
    rows = softened_kl(learner, target.detach(), SOFTNESS)
    return (rows if weights is None else weights * rows).mean()


@torch.no_grad()
def with_weights_shuffled(net: nn.Module) -> nn.Module:
    """A copy whose every parameter has its values at random places: random weights are as random again, and layers of
    one value, such as a normalization's, stay as they were."""
    other = copy.deepcopy(net)
    for weight in other.parameters():
        flat = weight.flatten()
        weight.copy_(flat[torch.randperm(len(flat)).to(flat.device)].reshape(weight.shape))
    return other


class Seen(NamedTuple):
    """What all networks answered to a batch, the student first."""

    observations: tuple[Observation, ...]
    vectors: tuple[Float[Tensor, "B D"], ...]
    """Of length 1."""


Loss = Callable[[Sequence[Tensor], Tensor, float], Tensor]
"""Of all networks' vectors [B, D], the labels [B] and a temperature."""


def similarities(one: Float[Tensor, "B D"], other: Float[Tensor, "B D"], temperature: float) -> Float[Tensor, "B B"]:
    return products(one, other) / temperature


def vanilla(vectors: Sequence[Tensor], labels: Tensor, temperature: float) -> Tensor:
    """VCL: of each network's rows among themselves."""
    return total(supervised_contrast(similarities(own, own, temperature), labels) for own in vectors)


def interactive(vectors: Sequence[Tensor], labels: Tensor, temperature: float) -> Tensor:
    """ICL: of each network's rows among those of each other."""
    return total(
        supervised_contrast(similarities(one, other, temperature), labels) for one, other in permutations(vectors, 2)
    )


def soft_vanilla(vectors: Sequence[Tensor], labels: Tensor, temperature: float) -> Tensor:
    """Soft VCL: each network sees its rows as each other sees its own."""
    own = [similarities(each, each, temperature) for each in vectors]
    return total(soft_contrast(learner, target) for learner, target in permutations(own, 2))


def soft_interactive(vectors: Sequence[Tensor], labels: Tensor, temperature: float) -> Tensor:
    """Soft ICL: of two networks each sees the other's rows as the other sees its own."""
    return total(
        soft_contrast(similarities(one, other, temperature), similarities(other, one, temperature))
        for one, other in permutations(vectors, 2)
    )


def total(losses: Iterable[Tensor]) -> Float[Tensor, ""]:
    return torch.stack(list(losses)).sum()


class Together(Term):
    """The sum of the task's losses of all networks. It holds the student's peers, and a head for each network."""

    needs = frozenset({"labels", "embedding", "logits"})

    def __init__(self, networks: int, dim: int) -> None:
        super().__init__()
        need_positive(networks=networks, dim=dim)
        self.networks, self.dim = networks, dim
        self.last: tuple[Step, Seen] | None = None

    def bind(self, nets: Networks) -> None:
        need_exclusive_classes(nets, "mutual")
        need_classes(nets, "mutual", least=2)
        need_one_answer_per_row(nets, "mutual")
        width = nets.student_sizes.embedding
        if width < 1:
            raise ValueError("mutual compares embeddings, and the student gives none; use another student")
        self.task = nets.task
        self.peers = nn.ModuleList(with_weights_shuffled(nets.student) for _ in range(self.networks - 1))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(width, self.dim), nn.ReLU(), nn.Linear(self.dim, self.dim))
            for _ in range(self.networks)
        )

    def tick(self, progress: Progress) -> None:
        self.last = None

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return total(seen.loss for seen in self.answers(step) if seen.loss is not None)

    def answers(self, step: Step) -> Sequence[Observation]:
        return self.seen(step).observations

    def seen(self, step: Step) -> Seen:
        """Every network's answers to the batch; the peers are run once for all terms."""
        if self.last is None or self.last[0] is not step:
            self.last = step, self.look(step)
        return self.last[1]

    def look(self, step: Step) -> Seen:
        shown = step.pairs["clean"].look.student
        peers = [self.task.networks.observe(peer, shown, needs=frozenset({"embedding"})) for peer in self.peers]
        found = (step.student(), *peers)
        vectors = (head(embedding_of(seen)).float() for head, seen in zip(self.heads, found, strict=True))
        return Seen(found, tuple(map(normalized, vectors)))


class Contrast(Term):
    """One of the four losses of all networks' vectors, of the rows of all processes."""

    needs = frozenset({"labels", "embedding", "logits"})
    rows_of_a_class = 2

    def __init__(self, seen: Callable[[Step], Seen], loss: Loss, temperature: float) -> None:
        super().__init__()
        self.seen, self.loss, self.temperature = seen, loss, temperature

    def forward(self, step: Step) -> Float[Tensor, ""]:
        vectors = [gathered(own) for own in self.seen(step).vectors]
        return self.loss(vectors, gathered(step.batch["labels"]), self.temperature)


class MeanAnswer(Term):
    """Soft targets (nats) of the mean of all networks' logits, for both of two networks, else for the student alone."""

    needs = frozenset({"logits", "embedding", "labels"})

    def __init__(self, answers: Callable[[Step], Sequence[Observation]]) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, step: Step) -> Float[Tensor, ""]:
        logits = [counted_logits(seen) for seen in self.answers(step)]
        mean = torch.stack(logits).mean(0).detach()
        learners = logits if len(logits) == 2 else logits[:1]
        return total(softened_kl(own, mean, SOFTNESS).mean() for own in learners)


def mutual(
    networks: int = 2,
    temperature: ContrastTemperature = 0.1,
    dim: int = 128,
    vcl: TermWeight = 0.1,
    icl: TermWeight = 0.1,
    soft_vcl: TermWeight = 1.0,
    soft_icl: TermWeight = 1.0,
    soft: TermWeight = 0.0,
) -> Method:
    """task losses of all networks + vcl, icl, soft_vcl and soft_icl times the contrastive losses + soft * soft targets.

    `networks`: the student and its peers, all trained; 1 leaves the task loss and `vcl`. No teacher is needed, and
    training takes as many times longer as there are networks.
    """
    need_weight(vcl=vcl, icl=icl, soft_vcl=soft_vcl, soft_icl=soft_icl, soft=soft)
    need_positive(temperature=temperature)
    together = Together(networks, dim)
    losses = {"vcl": (vanilla, vcl)}
    if networks > 1:
        losses |= {
            "icl": (interactive, icl),
            "soft_vcl": (soft_vanilla, soft_vcl),
            "soft_icl": (soft_interactive, soft_icl),
        }
    terms = {"task": Weighted(together)}
    for name, (loss, weight) in losses.items():
        if weight:
            terms[name] = Weighted(Contrast(together.seen, loss, temperature), weight)
    if soft and networks > 1:
        terms["soft"] = Weighted(MeanAnswer(together.answers), soft)
    return Method(**terms)
