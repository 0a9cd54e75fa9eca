"""Combined-KD: annealing and adversarial text in a first phase without labels, then a second on the labels alone.

Source: Li, Rashid, Jafari, Sharma, Ghodsi, Rezagholizadeh, "How to Select One Among All? An Empirical Study Towards
the Robustness of Knowledge Distillation in Natural Language Understanding", Findings of EMNLP 2021, arXiv:2109.05696,
and the authors' script for RoBERTa.
Departs from it: phi reaches 1 also in fewer epochs than t_max; the generator does not play in phase 2, where nothing
reads its text (the script trains it on). Two phases are two entries under `distill`, and the second starts from the
student that the first kept, as any entry does: the best by its validation score, unless `keep: last` is set. In the
script the student trains without dropout; here it has its network's own, as under every method, and keeps it while the
generator ascends, as in the authors' MATE-KD. The generator derived from the teacher, its dropout being off, its AdamW
with a constant rate and without weight decay, and that it learns from mini-batches of its own, which the script takes
out of the student's, are ours. Three quirks of the authors' script for BERT are not reproduced, for they contradict the
paper and their other script: in phase 1 it drops the loss on the filled text and reads labels, and its phi passes 1.
"""

import math
from typing import Annotated, Literal

from jaxtyping import Float
from torch import Tensor

from kd2deploy.core import MaskedLm, Method, Networks, Step, TaskLoss, Term, Weighted
from kd2deploy.core.search import Around, Share
from kd2deploy.methods._adversarial_text import ADVERSARIAL, AdversarialText, Game
from kd2deploy.methods._divergence import mean_squared_error
from kd2deploy.methods._maths import annealing_factor, need_equal_classes, need_positive, need_share


class AnnealedError(Term):
    """Mean squared error between the student's logits and phi times the teacher's, in one view."""

    needs = frozenset({"teacher"})

    def __init__(self, view: str, t_max: int) -> None:
        super().__init__()
        need_positive(t_max=t_max)
        self.view, self.views, self.t_max = view, (view,), t_max

    def bind(self, nets: Networks) -> None:
        need_equal_classes(nets, "combined_kd")

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = step.answers(self.view)
        phi = annealing_factor(math.floor(step.progress.epoch), step.progress.epochs, self.t_max)
        return mean_squared_error(student, phi * teacher).mean()


class PlainError(Term):
    """Mean squared error between raw logits in one view: what the generator ascends, whatever phi is."""

    needs = frozenset({"teacher"})

    def __init__(self, view: str) -> None:
        super().__init__()
        self.view, self.views = view, (view,)

    def bind(self, nets: Networks) -> None:
        need_equal_classes(nets, "combined_kd")

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return mean_squared_error(*step.answers(self.view)).mean()


def combined_kd(
    phase: Literal[1, 2],
    generator: MaskedLm | str | None = None,
    mask_rate: float = 0.3,
    ascents: int = 10,
    descents: int = 100,
    generator_rate: float = 5e-7,
    t_max: Annotated[int, Around(2.0)] = 10,
    adversarial: Share = 0.5,
) -> Method:
    """Phase 1: (1 - adversarial) * annealed error on the text + adversarial * the same on the filled text, no labels.
    Phase 2: the task loss; the other arguments do not matter there.

    phi rises from 1 / t_max to 1 over the epochs of phase 1 and multiplies the teacher's logits in both views. With
    adversarial = 0 no text is made. The remaining arguments are those of mate_kd.
    """
    if phase not in (1, 2):
        raise ValueError(f"phase must be 1 or 2, got {phase!r}")
    need_share(adversarial=adversarial)
    game = Game(generator, mask_rate, ascents, descents, generator_rate)
    clean = Weighted(AnnealedError("clean", t_max), 1 - adversarial)
    if phase == 2:
        return Method(task=Weighted(TaskLoss()))
    if adversarial == 0:
        return Method(clean=clean)
    return Method(
        AdversarialText("combined_kd", PlainError(ADVERSARIAL), game, labels=False, student_dropout=True),
        clean=clean,
        adversarial=Weighted(AnnealedError(ADVERSARIAL, t_max), adversarial),
    )
