"""A view of adversarial text: a masked language model fills masked words so that student and teacher disagree.

Source: Rashid, Lioutas, Rezagholizadeh, "MATE-KD: Masked Adversarial TExt, a Companion to Knowledge Distillation",
2021, arXiv:2105.05912, section 3 and the authors' script.
Departs from it: the generator's dropout is off throughout (it samples through Gumbel noise already), and its AdamW has
a constant rate and no weight decay, whatever the training's settings are: ours. The script takes the generator's
mini-batches out of the student's epochs; here they are drawn from the same rows in an order of their own, so that each
epoch shows the student every row, as under any other method. A generator derived from the teacher where none is named
is ours too.

Who owns what: the generator, and whatever the objective trains, are submodules of the view, so they move with it and
lie in its state dict; but their `requires_grad` is False except while they ascend, so the training's optimizer never
takes them. Their own optimizer and the count of the student's mini-batches are the view's extra state.
"""

import copy
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kd2deploy.core import Batch, Look, MaskedLm, Networks, Pair, Progress, Step, TaskNetworks, Term, View, clean_look
from kd2deploy.methods._masked_text import drawn_mask, may_be_masked, straight_through_gumbel, substituted
from kd2deploy.methods._maths import need_positive, need_share
from kd2deploy.methods._two_players import ascents_before, evaluating, learning

log = logging.getLogger(__name__)

ADVERSARIAL = "adversarial"
"""The view's name."""
CLIP = 5.0
"""Norm to which the generator's gradients are clipped: the authors' script."""
FELT = 1e-4
"""How far AdamW must be able to carry a generator's weight in a whole training, or its text stays what it was: about a
two-hundredth of a usual weight (0.02). Ours."""
SHORT_RATE = 5e-6
"""A rate for short trainings. Ours."""


@dataclass(frozen=True)
class Game:
    """How the generator is made and plays; the defaults are the authors' script's."""

    generator: MaskedLm | str | None = None
    """A folder with a masked language model of the teacher's vocabulary, or one in memory (it is copied); None derives
    one from the teacher."""
    mask_rate: float = 0.3
    """Probability, 0..1, that a word is masked."""
    ascents: int = 10
    """Mini-batches of its own that the generator learns from before each cycle of the student's."""
    descents: int = 100
    """Mini-batches of the student's in a cycle."""
    generator_rate: float = 5e-7
    """Learning rate of the generator's AdamW, constant and without weight decay."""

    def __post_init__(self) -> None:
        need_share(mask_rate=self.mask_rate)
        need_positive(descents=self.descents, generator_rate=self.generator_rate)
        if self.ascents < 0:
            raise ValueError(f"ascents must be 0 or more, got {self.ascents}")

    def ascents_in(self, steps: int) -> int:
        """Ascents in a training of so many mini-batches, an incomplete last cycle counted whole."""
        return math.ceil(steps / self.descents) * self.ascents


class AdversarialText(View):
    """The text as the generator fills it. At the start of each cycle of the student's mini-batches the generator first
    ascends `objective`, on mini-batches of its own.

    `objective` is a term that reads this view. `labels`: whether the filled text keeps the row's label.
    `student_dropout`: whether the student stays in training mode while the generator ascends.
    """

    name = ADVERSARIAL
    needs = frozenset({"teacher"})
    optimizes_itself = True
    generator: MaskedLm

    def __init__(self, method: str, objective: Term, game: Game, *, labels: bool, student_dropout: bool) -> None:
        super().__init__()
        self.method, self.objective, self.game = method, objective, game
        self.labels, self.student_dropout = labels, student_dropout
        self.turn = 0
        self.cycle = game.descents if game.ascents else 1
        self.progress = Progress(0, 1, 0.0, 1.0)
        self.optimizer: torch.optim.AdamW | None = None

    def bind(self, nets: Networks) -> None:
        teacher, _ = nets.need_teacher(self.method)
        need_one_vocabulary(nets, self.method)
        self.objective.bind(nets)
        self.batches = nets.batches
        if self.batches is None and self.game.ascents:
            raise ValueError(f"{self.method} has no batches for its generator to learn from; set `ascents: 0`")
        self.tell_of_a_generator_that_stands_still(nets.steps)
        self.generator = self.made_generator(nets)  # last, for deriving one takes a minute
        self.requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.parameters(), lr=self.game.generator_rate, weight_decay=0.0, fused=True)
        # inside a tuple no network is registered as a submodule
        self.networks: tuple[TaskNetworks, nn.Module, nn.Module] = (nets.task.networks, nets.student, teacher)

    def made_generator(self, nets: Networks) -> MaskedLm:
        """The generator that was given, named or derived, once it is known to speak the student's vocabulary."""
        given = self.game.generator
        if isinstance(given, MaskedLm):
            found = copy.deepcopy(given)
        elif nets.masked_lm is None:
            raise ValueError(f"{self.method} has no masked language model to fill words with; set `generator` to one")
        else:
            found = nets.masked_lm(given)
        words = len(word_table(nets, nets.student, self.method))
        with torch.no_grad(), evaluating(found):
            device = next(found.parameters()).device
            probe = torch.full((1, 2), found.mask_id, device=device)
            spoken = found(probe, torch.ones_like(probe), torch.ones_like(probe).bool()).shape[-1]
        if spoken != words:
            raise ValueError(
                f"{self.method}: `generator` scores {spoken} tokens and the student knows {words}; name a masked "
                "language model with the teacher's tokenizer, or leave `generator` out to derive one"
            )
        return found

    def tick(self, progress: Progress) -> None:
        self.progress = progress
        self.objective.tick(progress)

    def tell_of_a_generator_that_stands_still(self, steps: int) -> None:
        """A line in the log where rate times ascents is next to nothing. AdamW moves a weight by about its rate."""
        ascents = self.game.ascents_in(steps)
        reach = self.game.generator_rate * ascents
        if 0 < reach < FELT:
            log.warning(
                "%s: %d ascents at generator_rate %.0e move no weight of the generator by more than about %.0e, which "
                "leaves its text as it was; set generator_rate to %.0e or more, or train longer",
                self.method,
                ascents,
                self.game.generator_rate,
                reach,
                max(SHORT_RATE, 2 * FELT / ascents),
            )

    def forward(self, batch: Batch) -> Look:
        turn, self.turn = self.turn, self.turn + 1
        for ascent in ascents_before(turn, self.game.ascents, self.game.descents):
            assert self.batches is not None, "checked when the view was bound"
            self.ascend(self.batches(ascent))
        with torch.no_grad():
            mask, tokens = self.filled(batch)
        return self.look(batch, mask, tokens)

    def ascend(self, batch: Batch) -> None:
        """One step of the generator, and of what the objective trains, up the objective. Nothing else changes."""
        assert self.optimizer is not None, "a view is bound before it is run"
        kind, student, teacher = self.networks
        needs = self.objective.needs
        still = () if self.student_dropout else (student,)
        with torch.enable_grad(), evaluating(*still), learning(self) as weights:
            look = self.look(batch, *self.filled(batch))
            pair = Pair(
                kind.observe(student, look.student, needs=needs), kind.observe(teacher, look.teacher, needs=needs), look
            )
            gain = self.objective(Step(batch, {self.name: pair}, self.progress))
            gradients = torch.autograd.grad(-gain, weights, allow_unused=True)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
            torch.nn.utils.clip_grad_norm_(weights, CLIP)
            self.optimizer.step()
            self.optimizer.zero_grad()

    def filled(self, batch: Batch) -> tuple[Bool[Tensor, "B L"], Float[Tensor, "N V"]]:
        """Where words are masked, and the one-hot tokens that the generator fills in there."""
        ids, attended = batch["input_ids"], batch["attention_mask"]
        mask = drawn_mask(may_be_masked(ids, attended, self.generator.special_ids), self.game.mask_rate)
        with evaluating(self.generator):
            logits = self.generator(ids.masked_fill(mask, self.generator.mask_id), attended, mask)
        return mask, straight_through_gumbel(logits)

    def look(self, batch: Batch, mask: Bool[Tensor, "B L"], tokens: Float[Tensor, "N V"]) -> Look:
        """The filled text in each network's own word embeddings."""
        kind, *both = self.networks
        left_out = {"input_ids"} if self.labels else {"input_ids", "labels"}
        shown = []
        for net, own in zip(both, clean_look(batch), strict=True):
            argument, embeddings = kind.continuous_input(net, own)
            table = kind.token_table(net)
            assert table is not None, "checked when the view was bound"
            kept = {name: value for name, value in own.items() if name not in left_out}
            shown.append(kept | {argument: substituted(embeddings, mask, tokens, table)})
        return Look(*shown)

    def get_extra_state(self) -> dict[str, Any]:
        return {"turn": self.turn, "optimizer": self.optimizer.state_dict() if self.optimizer else {}}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        assert self.optimizer is not None, "a view is bound before its state is loaded"
        self.turn = state["turn"]
        self.optimizer.load_state_dict(state["optimizer"])


def word_table(nets: Networks, net: nn.Module, method: str) -> Float[Tensor, "V D"]:
    """A network's word embeddings, or an error where it reads no words."""
    table = nets.task.networks.token_table(net)
    if table is None:
        raise ValueError(f"{method} works on words, and the task's networks read none; use logit or mix_kd")
    return table


def need_one_vocabulary(nets: Networks, method: str) -> None:
    """An error where student and teacher do not read the same token ids."""
    teacher, _ = nets.need_teacher(method)
    mine, theirs = len(word_table(nets, nets.student, method)), len(word_table(nets, teacher, method))
    if mine != theirs or not nets.shares_inputs:
        difference = f"{mine} and {theirs} tokens" if mine != theirs else "different tokenizers"
        raise ValueError(
            f"{method} shows both networks the same words, and `student` and `teacher` have {difference}; "
            "use `student: {shrink: ...}`, which keeps the teacher's vocabulary, or a method without words (logit)"
        )
