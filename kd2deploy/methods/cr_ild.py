"""CR-ILD: consistency-regularized distillation of the last layer on mixed inputs, then of the logits.

Source: Ko, Park, Jeong, Hong, Ahn, Chang, Yun, "Revisiting Intermediate Layer Distillation for Compressing Language
Models: An Overfitting Perspective", Findings of EACL 2023, arXiv:2302.01530, section 4, and the authors' code.
Departs from it: the task's continuous input is mixed (word embeddings, before positions and normalization are added),
not the output of the whole embedding block; the cross-entropy of attentions is given less its target's entropy, as KL,
which has the same gradient and vanishes where the two agree; where the numbers of heads differ, attentions are averaged
over heads; padded positions are not compared, where their code counts them too; the distance to the teacher is over all
keys of a mixed row, for both networks read the longer of its two rows to the end, where their code takes the row's own;
no moving average of the student (off in the authors' code too); the last, incomplete batch of an epoch is kept, where
their code skips it. The consistency is the paper's, over attentions and hidden states: the script that the authors ship
runs a mode whose branch never adds it, which is not reproduced, for without it nothing of the method's name is left.
The two stages are two entries under `distill` of a recipe.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from kd2deploy.core import Method, Observation, Progress, Step, Term, Weighted
from kd2deploy.core.search import Temperature, TermWeight
from kd2deploy.methods._maths import TINY, mean_over_positions, need_one_of, need_weight
from kd2deploy.methods._mixing import KEPT, PARTNER, Draw, InputMixup
from kd2deploy.methods.attention import AttentionRelations, relation_kl
from kd2deploy.methods.hidden import HiddenStates
from kd2deploy.methods.logit import SoftTargets


def reversed_pairs() -> Draw:
    """One share for the batch, uniform in 0.5..1; the partner is the batch in reversed order."""

    def draw(rows: int) -> tuple[Tensor, Tensor]:
        share = torch.rand(())
        return torch.maximum(share, 1 - share).expand(rows), torch.arange(rows).flip(0)

    return draw


def state_distance(
    one: Float[Tensor, "B L D"], other: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"] | None
) -> Float[Tensor, "B"]:
    """Mean squared difference over features, then over the positions that count, per row."""
    return mean_over_positions((one - other).square().mean(-1), mask)


def over_keys(attention: Float[Tensor, "B H L L"], mask: Bool[Tensor, "B L"] | None) -> Float[Tensor, "B H L L"]:
    """Attention over the keys that count alone, each row again of sum 1: the softmax of their scores."""
    if mask is None:
        return attention
    kept = attention.masked_fill(~mask[:, None, None], 0)
    return kept / kept.sum(-1, keepdim=True).clamp(min=TINY)


class Last(NamedTuple):
    """What a student's last layer shows of a batch."""

    attention: Float[Tensor, "B H L L"]
    state: Float[Tensor, "B L D"]
    """After the map to the teacher's width."""
    mask: Bool[Tensor, "B L"] | None

    def of(self, rows: Int64[Tensor, "B"]) -> "Last":
        return Last(self.attention[rows], self.state[rows], None if self.mask is None else self.mask[rows])

    def detached(self) -> "Last":
        return Last(self.attention.detach(), self.state.detach(), self.mask)


def consistency(mixed: Last, unmixed: Last, kept: Float[Tensor, "B"], partner: Int64[Tensor, "B"]) -> Float[Tensor, ""]:
    """kept * d(mixed_i, x_i) + (1 - kept) * d(mixed_i, x_partner), mean over the batch, with d the distance of the last
    attentions, over the unmixed row's own keys, plus that of the last states. No gradient flows to the unmixed side."""
    seen = unmixed.detached()
    own, other = (last_layer_distance(mixed, each) for each in (seen, seen.of(partner)))
    return (kept * own + (1 - kept) * other).mean()


def last_layer_distance(mixed: Last, unmixed: Last) -> Float[Tensor, "B"]:
    """KL(unmixed || mixed) of the attentions plus the squared difference of the states, at the unmixed positions."""
    mask = unmixed.mask
    of_attention = relation_kl(over_keys(mixed.attention, mask), unmixed.attention, mask)
    return of_attention + state_distance(mixed.state, unmixed.state, mask)


class Consistency(Term):
    """`consistency` of the student's answers to the mixed and to the unmixed batch, both after the map `fit`."""

    needs = frozenset({"hidden", "attentions"})
    views = ("clean", "mix")
    without_gradient = ("clean",)

    def __init__(self, fit: Callable[[Observation], Tensor]) -> None:
        super().__init__()
        self.fit = fit

    def forward(self, step: Step) -> Float[Tensor, ""]:
        shown = step.pairs["mix"].look.student
        mixed, unmixed = (self.last(step.student(view)) for view in ("mix", "clean"))
        return consistency(mixed, unmixed, shown[KEPT], shown[PARTNER])

    def last(self, seen: Observation) -> Last:
        return Last(seen.attentions[-1].float(), self.fit(seen), seen.mask)


def cr_ild(stage: Literal[1, 2] = 1, w_max: TermWeight = 0.1, temperature: Temperature = 2.0) -> Method:
    """Stage 1: last attentions + last hidden states + w * consistency, on mixed inputs, without labels or logits; w is
    w_max * epoch / epochs, 0 in the first epoch. States are compared after a map to the teacher's width. Stage 2: soft
    targets alone, at `temperature`.

    Stage 1 does not train the head, so that a score says nothing of its students: give that training `keep: last`.
    """
    need_one_of((1, 2), stage=stage)
    need_weight(w_max=w_max)
    if stage == 2:
        return Method(soft=Weighted(SoftTargets(temperature, method="cr_ild")))

    def ramp(progress: Progress) -> float:
        return w_max * int(progress.epoch) / progress.epochs

    states = HiddenStates("top", "always", view="mix", method="cr_ild")
    return Method(
        InputMixup(reversed_pairs()),
        attention=Weighted(AttentionRelations("mix", "cr_ild")),
        hidden=Weighted(states),
        consistency=Weighted(Consistency(states.top), ramp),
    )
