"""DCKD: restored pictures are pulled to the teacher's and pushed from what the student made of worse inputs before.

Source: Zhou, Qiao, Liao, Li, Li, Xie, Shen, Hu, Lin, "Dynamic Contrastive Knowledge Distillation for Efficient Image
Restoration", AAAI 2025, arXiv:2412.08939, and the authors' code: L1 to the target, to the teacher and to the teacher's
answer to a changed input (label-consistency regularization); 0.1 times a contrastive ratio over five levels of a
VQGAN's encoder with weights 1/32, 1/16, 1/8, 1/4 and 1; 0.001 times the cross-entropy between distributions over its
codes. Negatives are the history model's answers to the input and to four copies with Gaussian noise of 1 to 30 grey
levels, half of them the same in all channels.
Departs from it: where no VQGAN is named, a small one of the same shape is trained first, on the training's own targets
(`_codebook_training`). The history model's steps are shares of the training (`_history`). Code distributions are
compared by their logarithms once; the authors' code takes a second softmax of the student's, which `as_published` does.
Input changes are drawn once for a batch.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Batch, Method, Networks, Progress, Step, TaskLoss, TaskNetworks, Term, Weighted
from kd2deploy.core.search import TermWeight
from kd2deploy.methods._history import History
from kd2deploy.methods._maths import need_equal_classes, need_positive, need_weight
from kd2deploy.methods._picture_guide import Guide
from kd2deploy.methods._two_players import evaluating

LEVELS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Weights of the levels, the finest first."""
LEAST = 1e-7
"""Added to the distance to the negatives: the authors' code."""
NOISE = (1.0 / 255, 30.0 / 255)
"""Least and largest deviation of the noise in a negative's input."""
GREY = 0.5
"""Probability that the noise is the same in all channels."""
CHANGED = 0.5
"""Probability of each change of the input: inverted colours, two flips, rows and columns exchanged."""
Features = Sequence[Tensor]
"""Of one picture batch, one [B, D, h, w] for each level."""


# mathematics ----------------------------------------------------------------------------------------------------


def contrast(student: Features, teacher: Features, negatives: Sequence[Features]) -> Float[Tensor, ""]:
    """Sum over the levels of weight * |student - teacher| / (sum over the negatives of |student - negative| + 1e-7),
    absolute differences averaged over all elements."""
    found = []
    weights = LEVELS[-len(student) :]
    for level, (weight, own, theirs) in enumerate(zip(weights, student, teacher, strict=True)):
        near = (own - theirs).abs().mean()
        far = torch.stack([(own - negative[level]).abs().mean() for negative in negatives]).sum()
        found.append(weight * near / (far + LEAST))
    return torch.stack(found).sum()


def code_probabilities(distances: Float[Tensor, "B P K"]) -> Float[Tensor, "B P K"]:
    """softmax(max(d) - d): the nearest code is the likeliest."""
    return (distances.amax(-1, keepdim=True) - distances).softmax(-1)


def code_cross_entropy(
    student: Float[Tensor, "B P K"], teacher: Float[Tensor, "B P K"], as_published: bool = False
) -> Float[Tensor, ""]:
    """Cross-entropy in nats of the student's distributions over codes against the teacher's, by squared distances; mean
    over places. `as_published` takes the student's probabilities for logits."""
    target = code_probabilities(teacher)
    if as_published:
        return F.cross_entropy(code_probabilities(student).flatten(0, 1), target.flatten(0, 1))
    return -(target * F.log_softmax(-student, dim=-1)).sum(-1).mean()


def with_noise(pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Each with Gaussian noise of a deviation of its own, in half of them the same in all channels; cut to 0..1."""
    one_each = (len(pictures), 1, 1, 1)
    least, most = NOISE
    deviation = least + (most - least) * torch.rand(one_each, device=pictures.device)
    colour, grey = torch.randn_like(pictures), torch.randn_like(pictures[:, :1])
    noise = torch.where(torch.rand(one_each, device=pictures.device) < GREY, grey, colour)
    return (pictures + deviation * noise).clamp(0, 1)


class Change:
    """A change of pictures that can be undone: colours inverted, then flipped, then rows and columns exchanged."""

    def __init__(self, inverted: bool, across: bool, down: bool, turned: bool) -> None:
        self.inverted, self.turned = inverted, turned
        self.axes = [axis for axis, flips in ((-1, across), (-2, down)) if flips]

    @classmethod
    def drawn(cls) -> "Change":
        return cls(*(torch.rand(4) < CHANGED).tolist())

    def done(self, pictures: Float[Tensor, "B 3 H W"]) -> Tensor:
        found = 1 - pictures if self.inverted else pictures
        found = found.flip(self.axes)
        return found.transpose(-1, -2) if self.turned else found

    def undone(self, pictures: Float[Tensor, "B 3 H W"]) -> Tensor:
        found = pictures.transpose(-1, -2) if self.turned else pictures
        found = found.flip(self.axes)
        return 1 - found if self.inverted else found


# terms ----------------------------------------------------------------------------------------------------------


def need_pictures(nets: Networks) -> None:
    """An error where the task's networks do not answer pictures of three colours."""
    axes = next((port.axes for port in nets.task.outputs), ())
    if len(axes) != 4 or axes[1] != 3:
        raise ValueError(f"dckd compares pictures, and this task answers {list(axes)}; use logit or hidden")
    need_equal_classes(nets, "dckd")


def answers(step: Step) -> tuple[Tensor, Tensor]:
    """Student's and teacher's restored pictures, [B, 3, H, W] float32 each."""
    student, teacher = step.student().values, step.teacher().values
    assert student is not None, "a term that needs values is shown them"
    assert teacher is not None
    return student.float(), teacher.float()


def restored(kind: TaskNetworks, net: nn.Module, batch: Batch, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A network's answer to the batch with changed pictures, without a graph."""
    with torch.no_grad(), evaluating(net):
        argument, pictures = kind.continuous_input(net, batch)
        shown = {name: value for name, value in batch.items() if name != "labels"}
        values = kind.observe(net, shown | {argument: change(pictures)}).values
    assert values is not None
    return values.float()


class OutputDistance(Term):
    """Mean absolute difference of the student's and the teacher's pictures."""

    needs = frozenset({"teacher", "values"})

    def bind(self, nets: Networks) -> None:
        need_pictures(nets)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return F.l1_loss(*answers(step))


class LabelConsistency(Term):
    """The same to the teacher's answer to a changed input, with the change undone."""

    needs = frozenset({"teacher", "values"})

    def bind(self, nets: Networks) -> None:
        need_pictures(nets)
        self.networks: tuple[TaskNetworks, nn.Module] = (nets.task.networks, nets.need_teacher("dckd")[0])

    def forward(self, step: Step) -> Float[Tensor, ""]:
        kind, teacher = self.networks
        change = Change.drawn()
        target = change.undone(restored(kind, teacher, step.pairs["clean"].look.teacher, change.done))
        return F.l1_loss(answers(step)[0], target)


class Guided(Term):
    """A term that compares pictures by a guide, which one of them owns."""

    needs = frozenset({"teacher", "values"})
    by_itself = "trains a codebook from random numbers before the student, which would be another in each of several"

    def __init__(self, guide: Guide, owns: bool) -> None:
        super().__init__()
        self.guided: Callable[[], Guide] = lambda: guide  # a submodule of the term that owns it alone
        self.own = guide if owns else None

    def bind(self, nets: Networks) -> None:
        need_pictures(nets)
        if self.own is not None:
            self.own.bind(nets, "dckd")
            self.notes = tuple(note for note in (self.own.note,) if note)
        self.begin(nets)

    def tick(self, progress: Progress) -> None:
        if self.own is not None:
            self.own.prepare()
        self.step_begins(progress)

    @abstractmethod
    def begin(self, nets: Networks) -> None:
        """What else is bound."""

    @abstractmethod
    def step_begins(self, progress: Progress) -> None:
        """What else is done before each forward."""


class Contrast(Guided):
    """`contrast` with 1 + `negatives` answers of the history model. It holds that model."""

    def __init__(self, guide: Guide, owns: bool, negatives: int, every: int | None) -> None:
        super().__init__(guide, owns)
        self.negatives, self.every = negatives, every

    def begin(self, nets: Networks) -> None:
        self.history = History(nets.student, self.every)
        self.kind: tuple[TaskNetworks, ...] = (nets.task.networks,)

    def step_begins(self, progress: Progress) -> None:
        self.history.follow(progress)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = answers(step)
        batch, guide = step.pairs["clean"].look.student, self.guided()
        changes: list[Callable[[Tensor], Tensor]] = [torch.clone, *(with_noise for _ in range(self.negatives))]
        worse = [restored(self.kind[0], self.history.history, batch, change) for change in changes]
        with torch.no_grad():
            fixed = [guide.levels(one) for one in (teacher, *worse)]
        return contrast(guide.levels(student), fixed[0], fixed[1:])


class Mapping(Guided):
    """`code_cross_entropy` of the student's picture against the teacher's."""

    def __init__(self, guide: Guide, owns: bool, as_published: bool) -> None:
        super().__init__(guide, owns)
        self.as_published = as_published

    def begin(self, nets: Networks) -> None: ...

    def step_begins(self, progress: Progress) -> None: ...

    def forward(self, step: Step) -> Float[Tensor, ""]:
        student, teacher = answers(step)
        guide = self.guided()
        with torch.no_grad():
            target = guide.distances(teacher)
        return code_cross_entropy(guide.distances(student), target, self.as_published)


def dckd(
    task: TermWeight = 1.0,
    output: TermWeight = 1.0,
    consistent: TermWeight = 1.0,
    contrast: TermWeight = 0.1,
    mapping: TermWeight = 0.001,
    negatives: int = 4,
    every: int | None = None,
    codebook: str | None = None,
    codebook_steps: int = 300,
    as_published: bool = False,
) -> Method:
    """task * L1 to the target + output * L1 to the teacher + consistent * L1 to its answer to a changed input
    + contrast * contrastive ratio + mapping * cross-entropy over codes.

    `negatives`: copies of the input with noise, beside the input itself, that the history model answers. `every`: steps
    between its moves. `codebook`: a folder with a VQGAN; without one a small one is trained for `codebook_steps`.
    """
    need_weight(
        task=task, output=output, consistent=consistent, contrast=contrast, mapping=mapping, negatives=negatives
    )
    if every is not None:
        need_positive(every=every)
    guide = Guide(codebook, codebook_steps)
    terms: dict[str, Weighted] = {}
    if task:
        terms["task"] = Weighted(TaskLoss(), task)
    if output:
        terms["output"] = Weighted(OutputDistance(), output)
    if consistent:
        terms["consistent"] = Weighted(LabelConsistency(), consistent)
    if contrast:
        terms["contrast"] = Weighted(Contrast(guide, True, negatives, every), contrast)
    if mapping:
        terms["mapping"] = Weighted(Mapping(guide, not contrast, as_published), mapping)
    return Method(**terms)
