"""The distiller: runs both networks on every view of a batch and adds up the method's terms."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kd2deploy.core import (
    TEACHER_PREFIX,
    Batch,
    Look,
    Method,
    Networks,
    Observation,
    Pair,
    Part,
    Progress,
    Sizes,
    Step,
    Task,
    Term,
    View,
    clean_look,
)
from kd2deploy.core.step import UndeclaredError, answer_of
from kd2deploy.errors import TrainError
from kd2deploy.networks.several import Several, single
from kd2deploy.train.teacher_cache import TeacherCache

SEEN = frozenset({"hidden", "attentions", "embedding", "features", "members"})
"""The needs that make a network show more of itself; the others say what must be run or given."""
TERM = "term."


@dataclass(frozen=True)
class Outcome:
    """One training forward: the loss, and for the log what each term said and weighed."""

    loss: Tensor
    values: Mapping[str, Tensor]
    """Unweighted and detached; empty where no term weighs anything now."""
    weights: Mapping[str, float]


class Distiller(nn.Module):
    """A student, a method and (outside of the module registry) a teacher, trained like any one model.

    `method` must be bound already. The teacher is frozen, in eval mode, run without a graph, and never saved.
    """

    accepts_loss_kwargs = False  # read by transformers.Trainer: `forward` takes the batch and nothing else

    def __init__(
        self,
        task: Task,
        student: nn.Module,
        method: Method,
        teacher: nn.Module | None = None,
        cache: TeacherCache | None = None,
    ) -> None:
        super().__init__()
        if teacher is None and cache is None and "teacher" in method.needs:
            raise ValueError("the method needs a teacher; name one under `teacher` or use task_only")
        if cache is not None:
            cache.require(method)
        self.task, self.student, self.method = task, student, method
        self._teacher = () if teacher is None else (teacher.eval().requires_grad_(False),)
        self._cache = cache
        self.progress = Progress(step=0, steps=1, epoch=0.0, epochs=1.0)
        self._keeps_state = {name: keeps_state(weighted.term) for name, weighted in method.weighted.items()}

    @property
    def teacher(self) -> nn.Module | None:
        return self._teacher[0] if self._teacher else None

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """The loss under `loss`, and every term's unweighted, detached value under `term.<name>`."""
        outcome = self.outcome(batch)
        return {"loss": outcome.loss} | {TERM + name: value for name, value in outcome.values.items()}

    def outcome(self, batch: Batch) -> Outcome:
        """The loss with all that went into it."""
        for net in self.method.still:
            net.eval()
        self.method.tick(self.progress)
        weights = self._weights()
        looks = self._looks(batch, weights)
        weighted = self.method.weighted
        terms = {name: weighted[name].term for name in weights}
        pairs = {name: self._pair(name, look, terms.values()) for name, look in looks.items()}
        step = Step(batch, pairs, self.progress)
        values = {name: value_of(name, term, step) for name, term in terms.items()}
        loss = zero_leaf(batch) if not values else torch.stack([weights[n] * values[n].float() for n in values]).sum()
        return Outcome(loss, {name: value.detach() for name, value in values.items()}, weights)

    def _weights(self) -> dict[str, float]:
        """Weights of the terms that take part now: one that weighs exactly 0 and keeps no state is not computed."""
        weights = {name: weighted.at(self.progress) for name, weighted in self.method.weighted.items()}
        return {name: weight for name, weight in weights.items() if weight != 0 or self._keeps_state[name]}

    def _looks(self, batch: Batch, active: Mapping[str, float]) -> dict[str, Look]:
        """Each view's look that a term reads."""
        terms = self.method.weighted
        read = {view for name in active for view in terms[name].term.views}
        looks = {"clean": clean_look(batch)} if "clean" in read else {}
        for view in self.method.views:
            assert isinstance(view, View)
            if view.name not in read and not keeps_state(view):
                continue
            look = view(batch)
            if view.name in read:
                looks[view.name] = look
        return looks

    def _pair(self, view: str, look: Look, active: Iterable[Term]) -> Pair:
        """Both networks' answers, with what the terms that take part now read of this view and no more."""
        readers = [term for term in active if view in term.views]
        needs: frozenset[str] = frozenset().union(*(term.needs for term in readers))
        learns = torch.is_grad_enabled() and not all(view in term.without_gradient for term in readers)
        shown = look.student if "labels" in needs else without_labels(look.student)
        with torch.set_grad_enabled(learns):
            student = self.task.networks.observe(self.student, shown, needs=needs & SEEN)
        return Pair(student, self._observe_teacher(view, look, needs) if "teacher" in needs else None, look)

    def _observe_teacher(self, view: str, look: Look, needs: frozenset[str]) -> Observation:
        if self._cache is not None and view == "clean":
            return self._cache.lookup(look.student["index"])
        assert self.teacher is not None
        with torch.no_grad():
            return self.task.networks.observe(self.teacher, without_labels(look.teacher), needs=needs & SEEN)


def value_of(name: str, term: Term, step: Step) -> Tensor:
    """The term's value. Raises TrainError, with its name, where it reads what its `needs` do not name."""
    who = f"{type(term).__module__.rpartition('.')[2]}: term {name!r} ({type(term).__name__})"
    try:
        found = term(step)
    except UndeclaredError as error:
        raise TrainError(f"{who} {error}") from None
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        lacking = sorted((SEEN | {"labels"}) - term.needs)
        if type(term).__module__.startswith("kd2deploy.") or not lacking:
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise TrainError(
            f"{who} failed ({said}); it was shown no {', no '.join(lacking)}, which its `needs` do not name: if it "
            "reads one of them, add it there"
        ) from error
    if not isinstance(found, Tensor):
        asked = "" if "labels" in term.needs else "; the task's own loss is shown where 'labels' is among its `needs`"
        raise TrainError(f"{who} returned {type(found).__name__} and no tensor{asked}")
    return found


def zero_leaf(batch: Batch) -> Tensor:
    """A loss of 0 on the batch's device that nothing trainable stands behind."""
    device = next(iter(batch.values())).device
    return torch.zeros((), device=device, requires_grad=True)


def without_labels(batch: Batch) -> Batch:
    """The batch without its labels: the network then does not compute a task loss that nobody reads."""
    return {name: value for name, value in batch.items() if name != "labels"}


def keeps_state(part: Part) -> bool:
    """Whether a part must be run even when its result weighs nothing: it has parameters, a bank or a generator."""
    return part.optimizes_itself or bool(part.state_dict()) or any(True for _ in part.buffers())


@torch.no_grad()
def networks(
    task: Task,
    student: nn.Module,
    teacher: nn.Module | None,
    batch: Batch,
    *,
    rows: int,
    epochs: float,
    steps: int,
) -> Networks:
    """What parts may learn when they are bound; the sizes are read off one observation of `batch` (in eval mode)."""
    look = clean_look(batch)
    return Networks(
        task=task,
        student=student,
        student_sizes=sizes_of(task, student, look.student),
        members=tuple(single(student)) if isinstance(student, Several) else (),
        teacher=teacher,
        teacher_sizes=None if teacher is None else sizes_of(task, teacher, look.teacher),
        rows=rows,
        shares_inputs=not any(name.startswith(TEACHER_PREFIX) for name in batch),
        epochs=epochs,
        steps=steps,
    )


def sizes_of(task: Task, net: nn.Module, batch: Batch) -> Sizes:
    """A network's sizes, from what it shows of itself; what it does not have counts as empty."""
    modes = {module: module.training for module in net.modules()}
    device = next(net.parameters()).device
    net.eval()
    with same_attention(net):
        seen = task.networks.observe(
            net, {name: value.to(device) for name, value in without_labels(batch).items()}, needs=SEEN
        )
    for module, training in modes.items():
        module.training = training
    return sizes_seen(seen)


def sizes_seen(seen: Observation) -> Sizes:
    """The sizes of what a network shows of itself, and of its members."""
    return Sizes(
        hidden=tuple(state.shape[-1] for state in seen.hidden),
        classes=0 if seen.logits is None else seen.logits.shape[-1],
        values=0 if seen.values is None else seen.values.shape[-1],
        embedding=0 if seen.embedding is None else seen.embedding.shape[-1],
        heads=tuple(attention.shape[1] for attention in seen.attentions),
        features=tuple(one.shape[1] for one in seen.features),
        background=seen.background,
        queries=seen.extras["boxes"].shape[1] if "boxes" in seen.extras else 0,
        positions=seen.hidden[-1].shape[1] if seen.hidden else 0,
        per_label=seen.per_label,
        members=tuple(map(sizes_seen, seen.members)),
        summed=is_sum(seen),
    )


def is_sum(seen: Observation) -> bool:
    """Whether what several networks answer is the plain sum of their answers."""
    return bool(seen.members) and torch.allclose(answer_of(seen), sum(map(answer_of, seen.members), torch.zeros(())))


@contextmanager
def held_still(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Keep gradients from networks that a training leaves as they are; afterwards they can be trained again."""
    held = [weight for net in networks for weight in net.parameters() if weight.requires_grad]
    for weight in held:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in held:
            weight.requires_grad_(True)


@contextmanager
def same_attention(net: nn.Module) -> Iterator[None]:
    """Put a network's attention implementation back: looking at attentions switches it to the slow one for good."""
    ours = [one for one in single(net) if isinstance(one, PreTrainedModel)]
    before = [one.config._attn_implementation for one in ours]
    yield
    for one, implementation in zip(ours, before, strict=True):
        if implementation and one.config._attn_implementation != implementation:
            one.set_attn_implementation(implementation)
