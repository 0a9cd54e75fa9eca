"""The parts that a distillation method is made of: views that look at the batch, terms that are added up.

A `View` makes another look at the batch (mixup, adversarial text, a second augmentation). A `Term` is a scalar of what
was seen. A `Method` is some views and some weighted terms; a method file is a plain function that returns one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Tensor, nn

from kd2deploy.core.masked_lm import MaskedLm
from kd2deploy.core.step import Batch, Look, Progress, Step

if TYPE_CHECKING:
    from kd2deploy.core.task import Task

NEEDS = frozenset(
    {"teacher", "hidden", "attentions", "embedding", "features", "members", "labels", "logits", "values", "redraw"}
)
"""All that a part may ask for. `teacher`: the teacher is run. `labels`: rows must be labelled. `logits`: the task must
show scores of classes; `values`: numbers or pictures; a part that can compare either asks for neither. `members`: a
student of several networks shows what each of them answers, with whatever else is asked for. `redraw`: rows are kept so
that a view can have them augmented anew (`Networks.need_redraw`)."""

OWN_OPTIMIZER = "has an optimizer of its own, whose steps would differ in each of several"

Weight = float | Callable[[Progress], float]


@dataclass(frozen=True)
class Sizes:
    """A network's sizes, read off one observation rather than off its configuration."""

    hidden: tuple[int, ...]
    """Width of every hidden state: the embedding's first, then one per block."""
    classes: int
    """Width of the logits; 0 for a task that shows values."""
    embedding: int
    """Width of what the classification head reads."""
    heads: tuple[int, ...] = ()
    """Attention heads per block; empty for a network without attention."""
    positions: int = 0
    """Positions of the last hidden state in the probe (equal where they can be compared one by one)."""

    values: int = 0
    """Width of the values; 0 for a task that shows logits."""
    per_label: bool = False
    """Whether the logits are no and yes of labels that do not exclude each other."""
    members: tuple["Sizes", ...] = ()
    """Those of each network, of several that answer as one; empty for a network by itself."""
    summed: bool = False
    """Whether the answer is the plain sum of the members'."""
    features: tuple[int, ...] = ()
    """Channels of every feature map; empty for a network that shows none."""
    queries: int = 0
    """Queries that answer a box each; 0 for a network that answers none."""
    background: bool = False
    """Whether the last class is that of a query that finds nothing."""

    @property
    def blocks(self) -> int:
        return len(self.hidden) - 1


class Redraw(Protocol):
    """The rows of a batch drawn anew: the batch that their other augmentation makes, on the same device.

    It depends on the training's seed, the epoch of `progress`, the rows and `number` alone. Number 0 is the draw that
    the training itself makes of the rows.
    """

    def __call__(self, batch: Batch, progress: Progress, number: int = 1) -> Batch: ...


@dataclass(frozen=True)
class Networks:
    """What a part may learn about the two networks when it is bound, before the optimizer exists.

    A part that keeps a network must not register it as a submodule: keep it inside a tuple.
    """

    task: "Task"
    student: nn.Module
    student_sizes: Sizes
    members: tuple[nn.Module, ...] = ()
    """The student's networks, of several that answer as one."""
    teacher: nn.Module | None = None
    teacher_sizes: Sizes | None = None
    rows: int = 0
    """Rows of the training set, for banks sized by it."""
    classes: Callable[[], Tensor] | None = None
    """[rows] int64: the class of every training row, negative where it has none or not just one. Read off the rows when
    it is called, which is not to be in `bind`. None where the training side does not tell."""
    shares_inputs: bool = True
    """False where the teacher reads other inputs than the student (another tokenizer)."""
    epochs: float = 1.0
    steps: int = 1
    masked_lm: Callable[[str | None], MaskedLm] | None = None
    """A masked language model over the teacher's vocabulary: from a folder, or (None) derived from the teacher. None
    where the training side offers no such thing."""
    batches: Callable[[int], Batch] | None = None
    """Batches beside the training's own, for a part that learns by itself: the k-th, k from 0, is always the same one,
    on the training's device. None where the training side offers none."""

    redraw: Callable[[Mapping[str, Any] | None], Redraw] | None = None
    """What draws rows anew by an augmentation, None for the training's own; see `need_redraw`. None where the task's
    rows are never augmented."""

    def need_redraw(self, part: str, augment: Mapping[str, Any] | None = None) -> Redraw:
        """What draws rows anew by `augment`, as a recipe says it, or else by the training's own augmentation.

        For a part that has `redraw` in its needs. Raises ValueError, with its name, where there is no augmentation.
        """
        if self.redraw is None:
            raise ValueError(
                f"{part} cannot have rows augmented anew: rows of this task are not augmented; use another method"
            )
        try:
            return self.redraw(augment)
        except ValueError as error:
            raise ValueError(f"{part}: {error}") from error

    def need_teacher(self, part: str) -> tuple[nn.Module, Sizes]:
        """The teacher and its sizes, or an error that names the part that cannot do without."""
        sizes = self.need_teacher_sizes(part)
        if self.teacher is None:
            raise ValueError(
                f"{part} runs the teacher's network, and only its answers are here; use a method that reads logits"
            )
        return self.teacher, sizes

    def need_teacher_sizes(self, part: str) -> Sizes:
        """The teacher's sizes, known too where its answers were brought along; or an error that names the part."""
        if self.teacher_sizes is None:
            raise ValueError(f"{part} needs a teacher; name one under `teacher` or use task_only")
        return self.teacher_sizes


class Part(nn.Module, ABC):
    """A view or a term. Its parameters, banks and generators are trained and checkpointed, never deployed."""

    needs: frozenset[str] = frozenset()
    optimizes_itself: ClassVar[bool] = False
    """True for a part with an inner optimizer: such a part cannot run under fp16 loss scaling, nor in several processes
    together."""
    by_itself: ClassVar[str] = ""
    """What keeps it to one process, for it would differ in each of several, in words that follow "it"; empty where
    nothing does. What compares rows with each other, or divides by a number of the batch, need not: it asks `gathered`
    and `averaged` for what the others have."""
    cycle: int = 1
    """Training forwards after which its work begins anew; the first of each cycle may cost more than the others."""
    own_steps: int = 1
    """Steps of its own, all alike, that the first forward of a cycle takes. Who only times some forwards sets fewer."""
    still: tuple[nn.Module, ...] = ()
    """Networks of the student's that this training leaves as they are: in eval mode, their weights without gradient.
    `bind` sets it."""
    rows_of_a_class: int = 1
    """So many rows of one class stand side by side in a training's batches, for a part that compares a row with others
    of its class; `batch` must be a multiple of it. 1: rows come as they may."""

    notes: tuple[str, ...] = ()
    """What a person should know of how it was made ready, once it is bound; told among a report's doubts."""

    def bind(self, nets: Networks) -> None:
        """Build heads from the networks' sizes. Called once, before the optimizer is made. Raises ValueError with the
        remedy where the networks cannot be distilled this way."""

    def tick(self, progress: Progress) -> None:
        """Called once per training forward, before the views."""


class Term(Part):
    """A scalar to be minimized."""

    views: tuple[str, ...] = ("clean",)
    """Names of the views whose pairs `forward` reads."""
    without_gradient: tuple[str, ...] = ()
    """Those of `views` whose student is only looked at: nothing flows back through its answer. Where all terms that
    read a view say so, the student answers it without a graph."""
    softens: float | None = None
    """What it divides the teacher's logits by before it compares answers; None where it does not."""

    @abstractmethod
    def forward(self, step: Step) -> Tensor: ...


class View(Part):
    """Another look at the batch, under a name that terms refer to."""

    name: str

    @abstractmethod
    def forward(self, batch: Batch) -> Look: ...


@dataclass(frozen=True)
class Weighted:
    """A term and its weight: a number, or a function of the progress."""

    term: Term
    weight: Weight = 1.0

    def at(self, progress: Progress) -> float:
        return self.weight(progress) if callable(self.weight) else self.weight


class Method(nn.Module):
    """A weighted sum of terms over views. `Method(view, ..., name=Weighted(term, weight), ...)`."""

    def __init__(self, *views: View, **terms: Weighted) -> None:
        super().__init__()
        if not terms:
            raise ValueError("a method needs at least one term")
        names = [view.name for view in views]
        if len(set(names)) < len(names) or "clean" in names:
            raise ValueError(f"views need names of their own, other than 'clean'; got {names}")
        for name, weighted in terms.items():
            missing = [view for view in weighted.term.views if view != "clean" and view not in names]
            if missing:
                raise ValueError(f"term {name!r} reads view {missing[0]!r}, and the method has {['clean', *names]}")
        self.views = nn.ModuleList(views)
        self.terms = nn.ModuleDict({name: weighted.term for name, weighted in terms.items()})
        self.weights: dict[str, Weight] = {name: weighted.weight for name, weighted in terms.items()}

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for part in (*self.views, *self.terms.values()) if isinstance(part, Part))

    @property
    def needs(self) -> frozenset[str]:
        return frozenset().union(*(part.needs for part in self.parts))

    @property
    def cycle(self) -> int:
        """The longest of the parts' cycles, in training forwards."""
        return max(part.cycle for part in self.parts)

    @property
    def rows_of_a_class(self) -> int:
        """The most that a part asks for."""
        return max(part.rows_of_a_class for part in self.parts)

    @property
    def by_itself(self) -> str:
        """Why one process alone can train by it, in words that follow its name; empty where several can."""
        reasons = [part.by_itself or (OWN_OPTIMIZER if part.optimizes_itself else "") for part in self.parts]
        return next((f"is for one process alone: it {reason}" for reason in reasons if reason), "")

    @property
    def still(self) -> tuple[nn.Module, ...]:
        """What a part leaves as it is; known once the method is bound."""
        return tuple(net for part in self.parts for net in part.still)

    @property
    def weighted(self) -> Mapping[str, Weighted]:
        found = {}
        for name, term in self.terms.items():
            assert isinstance(term, Term)
            found[name] = Weighted(term, self.weights[name])
        return found

    def bind(self, nets: Networks) -> None:
        """Bind every part. Raises ValueError with the remedy where one needs what these networks do not have."""
        for name, term in self.terms.items():
            assert isinstance(term, Term)
            require_shown(name, term, nets.student_sizes)
        for part in self.parts:
            part.bind(nets)

    def tick(self, progress: Progress) -> None:
        for part in self.parts:
            part.tick(progress)


def require_shown(name: str, term: Term, sizes: Sizes) -> None:
    """Raises ValueError, with the term's and its method's name, where the task does not show what the term reads."""
    shown = {"logits": sizes.classes > 0, "values": sizes.values > 0}
    lacking = [need for need, there in shown.items() if need in term.needs and not there]
    if lacking:
        what, other = {
            "logits": ("scores of classes", "values, such as a regression's"),
            "values": ("values, such as a regression's", "scores of classes"),
        }[lacking[0]]
        raise ValueError(
            f"{type(term).__module__.rpartition('.')[2]}: term {name!r} compares {what}, and this task shows {other}; "
            "use logit, which compares either"
        )


def compose(methods: Mapping[str, tuple[Method, Weight]]) -> Method:
    """One method out of several: the sum of their losses, each times its weight. Names become `<method>_<term>`."""
    views: list[View] = []
    terms: dict[str, Weighted] = {}
    for name, (method, weight) in methods.items():
        views += [view for view in method.views if isinstance(view, View)]
        for term, weighted in method.weighted.items():
            terms[f"{name}_{term}"] = Weighted(weighted.term, scaled(weighted.weight, weight))
    return Method(*views, **terms)


def scaled(weight: Weight, by: Weight) -> Weight:
    """The product of two weights, each a number or a function of the progress."""
    if not callable(weight) and not callable(by):
        return weight * by

    def product(progress: Progress) -> float:
        one = weight(progress) if callable(weight) else weight
        other = by(progress) if callable(by) else by
        return one * other

    return product


class TaskLoss(Term):
    """The task's own loss on the labels (cross-entropy, CTC, ...), as the task defines it, in one view."""

    needs = frozenset({"labels"})

    def __init__(self, view: str = "clean") -> None:
        super().__init__()
        self.view = view
        self.views = (view,)

    def forward(self, step: Step) -> Tensor:
        loss = step.student(self.view).loss
        if loss is None:
            raise ValueError(f"the task loss needs labels, and view {self.view!r} has none")
        return loss
