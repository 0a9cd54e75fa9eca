"""MATE-KD: a masked language model fills text so that student and teacher disagree; the student learns from it too.

Source: Rashid, Lioutas, Rezagholizadeh, "MATE-KD: Masked Adversarial TExt, a Companion to Knowledge Distillation",
ACL 2021, arXiv:2105.05912, section 3 and the authors' script.
Departs from it: the divergence is the paper's KL by default; the script computes a cross-entropy, which is
`divergence: cross_entropy`. The student keeps its dropout while the generator ascends, as in the script. The clipping
of the student's gradients (5 there) is the training's `max_grad_norm`. The generator may be derived from the teacher,
its dropout is off, its AdamW has a constant rate and no weight decay, and it learns from mini-batches of its own, where
the script takes them out of the student's: ours.
"""

from kd2deploy.core import MaskedLm, Method, TaskLoss, Weighted
from kd2deploy.core.search import Temperature, WholePart
from kd2deploy.methods._adversarial_text import ADVERSARIAL, AdversarialText, Game
from kd2deploy.methods._divergence import Disagreement, Divergence
from kd2deploy.methods._maths import need_sum_of_one


def mate_kd(
    generator: MaskedLm | str | None = None,
    mask_rate: float = 0.3,
    ascents: int = 10,
    descents: int = 100,
    generator_rate: float = 5e-7,
    divergence: Divergence = "kl",
    temperature: Temperature = 1.0,
    task: WholePart = 1 / 3,
    soft: WholePart = 1 / 3,
    adversarial: WholePart = 1 / 3,
) -> Method:
    """task * task loss + soft * divergence on the text + adversarial * divergence on the filled text.

    `generator`: a folder with a masked language model of the teacher's vocabulary; none derives one from the teacher.
    It ascends the divergence for `ascents` mini-batches of its own, the student learns for `descents`, and so on. A
    weight of it moves in all by about `generator_rate` times its ascents: a short training wants 5e-6. A student with
    one output (regression) is compared by squared error.
    """
    need_sum_of_one(task=task, soft=soft, adversarial=adversarial)
    game = Game(generator, mask_rate, ascents, descents, generator_rate)

    def apart(view: str) -> Disagreement:
        return Disagreement("mate_kd", view, divergence, temperature)

    return Method(
        AdversarialText("mate_kd", apart(ADVERSARIAL), game, labels=False, student_dropout=True),
        task=Weighted(TaskLoss(), task),
        soft=Weighted(apart("clean"), soft),
        adversarial=Weighted(apart(ADVERSARIAL), adversarial),
    )
