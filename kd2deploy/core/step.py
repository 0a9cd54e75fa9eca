"""What a training step shows to the methods: the networks' answers to each look at the batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from kd2deploy.core.port import TEACHER_PREFIX
from kd2deploy.errors import TrainError

Batch = dict[str, Tensor]
"""The network's own argument names, plus `index` [B]: the row's place in the training set. Where teacher and student
read different inputs (two tokenizers), the teacher's stand beside the student's under `teacher.<name>`.

`labels` of detection are [B, T, 5] float32: an object's class, and its box as cx cy w h in 0..1; where a row has fewer
than T objects the class is -1, and throughout a row without a label -100 (`NO_OBJECT` and `UNKNOWN` in `port`)."""

EMPTY: Mapping[str, Tensor] = MappingProxyType({})


class UndeclaredError(TrainError):
    """A term read what it did not ask for: `need` is missing in its `needs`."""

    def __init__(self, need: str, did: str) -> None:
        super().__init__(f"{did} without {need!r} in its `needs`; add it there")
        self.need = need


@dataclass(frozen=True, slots=True)
class Observation:
    """One network's answer to one batch. What no part asked for (`Part.needs`) is left empty."""

    logits: Tensor | None = None
    """Scores of classes, [B, ..., C]; [B, K, 2], no and yes, for K labels that do not exclude each other. None where
    the task has no classes."""
    values: Tensor | None = None
    """What is no score of a class: a regression's numbers [B, K], a restored picture [B, 3, H, W] in 0..1. None where
    there are logits alone."""
    hidden: tuple[Tensor, ...] = ()
    """The embedding's output first, then one per block: each [B, L, D]; feature maps are flattened to [B, H*W, D]."""
    attentions: tuple[Tensor, ...] = ()
    """One per block: [B, heads, L, L] probabilities, rows sum to 1 over the positions attended to."""
    embedding: Tensor | None = None
    """[B, D]: what the classification head reads."""
    mask: Tensor | None = None
    """[B, L] bool, True where a position counts; None when all do."""
    loss: Tensor | None = None
    """The task's own loss, scalar; None when the look has no labels."""
    per_label: bool = False
    """True where the logits' second axis is labels that do not exclude each other: no positions, also where they are
    as many as the mask's."""
    members: "tuple[Observation, ...]" = ()
    """What each network answers, of several that answer as one; their `embedding`, `hidden` and `attentions` are shown
    here alone. Empty for a network by itself."""
    features: tuple[Tensor, ...] = ()
    """Feature maps, each [B, D, H, W], the finest first: of a detector, what its queries look at."""
    background: bool = False
    """True where the last of the logits' classes is that of a query that finds nothing, so that classes exclude each
    other (softmax); else each class of each query is likely or not by itself (sigmoid). Of detectors alone."""
    extras: Mapping[str, Tensor] = field(default_factory=lambda: EMPTY)
    """What one modality alone has. Detection, beside `logits` [B, Q, C] of Q queries: `boxes` [B, Q, 4], cx cy w h in
    0..1 of the picture's width and height; and where the batch has labels `matched` [B, Q] int64, the place among the
    row's own that the network's loss matches each query to, -1 for none."""


class Look(NamedTuple):
    """What each network is shown in one view: equal unless the view wants them to differ."""

    student: Batch
    teacher: Batch


class Pair(NamedTuple):
    """Both networks' answers to one look; the teacher's is None where no part needs it."""

    student: Observation
    teacher: Observation | None
    look: Look


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands. `step` counts the training forwards (mini-batches) that are done."""

    step: int
    steps: int
    epoch: float
    epochs: float

    @property
    def done(self) -> float:
        """The share of the training that is done, 0..1."""
        return min(1.0, self.step / max(1, self.steps))


@dataclass(frozen=True, slots=True)
class Step:
    """All that a term may read: the batch, each view's pair, and where training stands."""

    batch: Batch
    pairs: Mapping[str, Pair]
    progress: Progress

    def student(self, view: str = "clean") -> Observation:
        return self.pairs[view].student

    def teacher(self, view: str = "clean") -> Observation:
        teacher = self.pairs[view].teacher
        if teacher is None:
            raise UndeclaredError("teacher", f"reads the teacher in view {view!r}")
        return teacher

    def logits(self, view: str = "clean") -> tuple[Float[Tensor, "N C"], Float[Tensor, "N C"]]:
        """Student's and teacher's logits as [N, C] float32, positions that do not count left out.

        Only for terms with `logits` in their needs, or where `shows_classes`.
        """
        return of_equal_positions(counted_logits(self.student(view)), counted_logits(self.teacher(view)))

    def answers(self, view: str = "clean") -> tuple[Float[Tensor, "N C"], Float[Tensor, "N C"]]:
        """Student's and teacher's answers as [N, C] float32, whichever there are: what a squared error takes."""
        return of_equal_positions(counted_answers(self.student(view)), counted_answers(self.teacher(view)))

    def embeddings(self, view: str = "clean") -> tuple[Float[Tensor, "B S"], Float[Tensor, "B T"]]:
        """Student's and teacher's embeddings as float32. Only for terms with `embedding` in their needs."""
        return embedding_of(self.student(view)), embedding_of(self.teacher(view))

    def shows_classes(self, view: str = "clean") -> bool:
        """Whether the answers are scores of classes, which may be softened, rather than values."""
        return self.student(view).logits is not None


def of_equal_positions(
    student: Float[Tensor, "N C"], teacher: Float[Tensor, "M C"]
) -> tuple[Float[Tensor, "N C"], Float[Tensor, "M C"]]:
    """Both, where they answer as many positions. Raises TrainError: one by one they could not be compared."""
    if len(student) != len(teacher):
        raise TrainError(
            f"the student answers {len(student)} positions and the teacher {len(teacher)}, and this method compares "
            "them one by one; use a method that brings the teacher's answers to the student's positions, or a student "
            "that answers as many"
        )
    return student, teacher


def embedding_of(seen: Observation) -> Float[Tensor, "B D"]:
    if seen.embedding is None:
        raise UndeclaredError("embedding", "reads an embedding")
    return seen.embedding.float()


def counted_logits(seen: Observation) -> Float[Tensor, "N C"]:
    """[B, ..., C] -> [N, C] float32; where there is one answer per position, those outside the mask are left out."""
    if seen.logits is None:
        raise UndeclaredError("logits", "reads scores of classes of a task that shows values")
    return counted(seen, seen.logits)


def counted_answers(seen: Observation) -> Float[Tensor, "N C"]:
    """The same of logits or, where there are none, of values."""
    return counted(seen, answer_of(seen))


def counted(seen: Observation, answer: Float[Tensor, "B *P C"]) -> Float[Tensor, "N C"]:
    answer = answer.float()
    return answer[seen.mask] if seen.mask is not None and answers_positions(seen) else answer.flatten(0, -2)


def answer_of(seen: Observation) -> Tensor:
    """Logits, or values where there are none."""
    found = seen.values if seen.logits is None else seen.logits
    if found is None:
        raise TrainError("a task's networks show `logits` or `values`, and these showed neither; mend `observe`")
    return found


def answers_positions(seen: Observation) -> bool:
    """Whether there is one answer per position of the mask."""
    return seen.mask is not None and not seen.per_label and answer_of(seen).shape[:-1] == seen.mask.shape


def clean_look(batch: Batch) -> Look:
    """The batch as it stands: the student's own inputs, and the teacher's where they differ."""
    student = {name: value for name, value in batch.items() if not name.startswith(TEACHER_PREFIX)}
    own = {name.removeprefix(TEACHER_PREFIX): value for name, value in batch.items() if name.startswith(TEACHER_PREFIX)}
    if not own:
        return Look(student, student)
    own.update({name: student[name] for name in ("labels", "index") if name in student})
    return Look(student, own)
