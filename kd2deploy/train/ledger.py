"""What a training remembers of itself: while it runs, to go on after a kill, and of its result."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from kd2deploy.core import Method
from kd2deploy.errors import TrainError
from kd2deploy.train.distiller import TERM
from kd2deploy.train.settings import Settings


@dataclass(frozen=True)
class Trained:
    """What a training came to. Its student lies in `student`, without teacher and heads."""

    student: Path
    """A folder as save_pretrained writes it."""
    steps: int
    """Optimizer steps taken."""
    kept_step: int
    """The step whose student was kept."""
    score: float | None
    """Validation score of the kept student; None where nothing scored."""
    stopped_early: bool
    seconds: float
    """Training alone, over all resumed stretches."""
    scoring_seconds: float
    samples_per_second: float
    seconds_per_step: float
    history: tuple[Mapping[str, Any], ...]
    """One entry per scoring (or epoch): step, epoch, loss, terms (unweighted means by name), learning_rate, score."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "student": str(self.student)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Trained":
        return cls(**{**found, "student": Path(found["student"]), "history": tuple(found["history"])})


@dataclass
class Ledger:
    """What must be remembered between two stretches of one training, beside weights, optimizer and generators."""

    run: dict[str, Any]
    """What makes it this training: settings, seed, rows, terms, steps."""
    forwards: int = 0
    rows: int = 0
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Since the last history entry: sum and count of the loss and of each term."""
    history: list[dict[str, Any]] = field(default_factory=list)
    kept_step: int = 0
    best: float | None = None
    since_best: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    scoring_seconds: float = 0.0


class Clock:
    """Seconds of training and of scoring in this stretch."""

    def __init__(self) -> None:
        self.started = self.spent = 0.0

    def start(self) -> None:
        self.started = time.perf_counter()

    @contextmanager
    def scoring(self) -> Iterator[None]:
        before = time.perf_counter()
        yield
        self.spent += time.perf_counter() - before

    def added_to(self, ledger: Ledger) -> Ledger:
        training = time.perf_counter() - self.started - self.spent
        return replace(
            ledger,
            seconds=ledger.seconds + training,
            scoring_seconds=ledger.scoring_seconds + self.spent,
        )


def identity(settings: Settings, seed: int, method: Method, rows: int) -> dict[str, Any]:
    """What must be equal for a training to be continued, as JSON gives it back."""
    return {
        "settings": asdict(settings),
        "seed": seed,
        "terms": sorted(method.terms),
        "rows": rows,
    }


def require_same(found: Mapping[str, Any], run: Mapping[str, Any], folder: Path) -> None:
    if found != run:
        other = [name for name in run if found.get(name) != run[name]]
        raise TrainError(f"{folder} holds another training: {', '.join(other)} differ; use another folder or empty it")


def require_finite(read: Mapping[str, float], step: int, settings: Settings, folder: Path) -> None:
    """TrainError that names the first term that is not finite; the loss itself comes last."""
    for name in sorted(read, key=lambda name: name == "loss"):
        if not math.isfinite(read[name]):
            what = "the loss" if name == "loss" else f"term {name.removeprefix(TERM)!r}"
            raise TrainError(unusable(f"{what} ({read[name]})", step, settings, folder))


def unusable(what: str, step: int, settings: Settings, folder: Path) -> str:
    lower = f"lower learning_rate (now {settings.learning_rate:g})"
    wider = "" if settings.precision == "fp32" else f", compute in fp32 (now {settings.precision})"
    return f"{what} is not finite at step {step}; {lower}{wider} or raise warmup; the checkpoints in {folder} stay"
