"""How a training is run: the numbers of one optimizer, one schedule and one precision."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from kd2deploy.core.search import Around

MOST_EPOCHS, MOST_ROWS, MOST_STEPS = 1_000_000, 1_000_000, 1_000_000_000
"""Beyond these nothing is trained before the sun goes out, and the numbers of steps overflow."""
MOST_LOADERS = 256
MOST_PROCESSES = 1024


@dataclass(frozen=True)
class Settings:
    """The settings of one training. The seed is not among them: the same settings are run with several seeds."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "allow_inf_nan": False}
    epochs: Annotated[float, Around(2.0)] = 3.0
    steps: Annotated[int | None, Around(2.0)] = None
    """Optimizer steps, in place of `epochs`: the same work whether there are few rows or many."""
    learning_rate: Annotated[float, Around(5.0)] = 5e-5
    batch: int = 32
    """Rows per forward, in each process."""
    processes: int = 1
    """Processes that share the training, each with a GPU of its own where there are any: a forward of all takes as many
    times `batch` rows."""
    shard_teacher: bool = False
    """Of several processes each holds its shard of the teacher's blocks alone, for a teacher that fits no device. Where
    one process trains, or no teacher is run, there is nothing to cut."""
    accumulate: int = 1
    """Forwards per optimizer step."""
    weight_decay: float = 0.01
    """Not applied to biases and normalization layers."""
    warmup: float = 0.1
    """Share of the optimizer steps over which the learning rate rises from 0."""
    schedule: Literal["linear", "cosine", "constant", "drops"] = "linear"
    """What follows the warm-up: a fall to 0, none, or sudden drops."""
    drops: list[float] | None = None
    """Of the schedule `drops`: after which shares of the optimizer steps the learning rate drops."""
    drop_to: float = 0.1
    """What is left of the learning rate after each drop, as a share."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9
    """Of sgd."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm; 0 leaves them."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """What the heavy operations are computed in; weights stay float32. `auto`: bf16 where the device has units for it,
    else fp32, so its results depend on the machine."""
    quantize: Literal["none", "int8", "int8_symmetric"] = "none"
    """`int8` trains the student with its linear maps and convolutions rounded as an int8 file for a processor rounds
    them, `int8_symmetric` as one for TensorRT does."""
    augment: dict[str, Any] | None = None
    """How every row is changed anew in each epoch, in the words of the task; None leaves them as they are."""
    loaders: int = 0
    """Processes that read rows beside the training; 0: it reads them itself. Its result does not depend on it."""
    parts_learning_rate: float | None = None
    """Learning rate of the method's own heads; None: that of the student."""
    group_by_length: bool = True
    """Batches of rows of like length, so that little is padded."""
    score_every: int | Literal["epoch"] = "epoch"
    """Optimizer steps between two validation scores."""
    keep: Literal["best", "last"] = "best"
    """Which student is kept: the best by validation score, or the last."""
    patience: int | None = None
    """Stop after so many scores in a row without a better one; None never stops early."""
    checkpoint_every: int | Literal["epoch"] = "epoch"
    """Optimizer steps between two checkpoints; an interrupted run continues from the last one."""

    @property
    def cuts_teacher(self) -> bool:
        return self.shard_teacher and self.processes > 1

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "batch", "accumulate"):
            _require(getattr(self, name) > 0, name, "must be positive", getattr(self, name))
        for name, most in (("epochs", MOST_EPOCHS), ("batch", MOST_ROWS), ("accumulate", MOST_ROWS)):
            _require(getattr(self, name) <= most, name, f"must be at most {most:,}", getattr(self, name))
        whole = self.steps is None or 0 < self.steps <= MOST_STEPS
        _require(whole, "steps", f"is a number from 1 to {MOST_STEPS:,}, or null for epochs", self.steps)
        for name in ("weight_decay", "max_grad_norm"):
            _require(getattr(self, name) >= 0, name, "must not be negative", getattr(self, name))
        _require(0 <= self.warmup < 1, "warmup", "is a share of the steps, from 0 to below 1", self.warmup)
        _require(0 <= self.momentum < 1, "momentum", "must be from 0 to below 1", self.momentum)
        _require(0 <= self.loaders <= MOST_LOADERS, "loaders", f"is from 0 to {MOST_LOADERS}", self.loaders)
        whole = 0 < self.processes <= MOST_PROCESSES
        _require(whole, "processes", f"is a number from 1 to {MOST_PROCESSES}", self.processes)
        rate = self.parts_learning_rate
        _require(rate is None or rate > 0, "parts_learning_rate", "must be positive, or null for the student's", rate)
        _require(self.patience is None or self.patience > 0, "patience", "must be positive, or null", self.patience)
        for name in ("score_every", "checkpoint_every"):
            every = getattr(self, name)
            _require(
                every == "epoch" or (isinstance(every, int) and every > 0),
                name,
                "is a positive number of optimizer steps or 'epoch'",
                every,
            )
        _one_of("schedule", self.schedule, ("linear", "cosine", "constant", "drops"))
        _require(0 < self.drop_to <= 1, "drop_to", "is a share, above 0 and at most 1", self.drop_to)
        drops, wanted = self.drops, self.schedule == "drops"
        rule = "are shares of the steps between 0 and 1, for `schedule: drops` alone"
        _require(bool(drops) == wanted and all(0 < at < 1 for at in drops or ()), "drops", rule, drops)
        _one_of("optimizer", self.optimizer, ("adamw", "sgd"))
        _one_of("precision", self.precision, ("auto", "fp32", "bf16", "fp16"))
        _one_of("quantize", self.quantize, ("none", "int8", "int8_symmetric"))
        _one_of("keep", self.keep, ("best", "last"))


def changed(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings with other values; `epochs` among them replaces a number of steps. Raises ValueError, TypeError."""
    length = {"steps": None} if "epochs" in values else {}
    return replace(settings, **{**length, **values})


def _require(holds: bool, name: str, rule: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{name} {rule}, got {value!r}")


def _one_of(name: str, value: str, accepted: tuple[str, ...]) -> None:
    _require(value in accepted, name, f"is one of {', '.join(accepted)}", value)
