"""What a run was made of, as its report holds it: task, data, artifacts and stages."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kd2deploy.core.figures import MetricUnit

Plain = str | int | float | bool | None

UNSTEADY = "unsteady timing"
"""The word of the finding that says for all timings that they were noisy or cut short."""


@dataclass(frozen=True)
class TaskInfo:
    name: str
    metric: str
    metric_unit: MetricUnit = "share"
    """`share` is 0..1 and written in percent; `number` is written as it stands (decibels, a loss)."""
    metric_suffix: str = ""
    """Written behind a `number`: "dB"."""
    labels: tuple[str, ...] = ()
    higher_is_better: bool = True
    """Of the metric; a difference is positive where something got better, either way."""
    counted_in: str = "elements"
    """What the size of a row is told in: tokens, for one."""
    unit_of_size: str = ""
    """One of what it is told in, where that is no element of the input and latency is told per unit too."""
    unit_elements: float = 0.0
    """How many elements of an input that is."""
    unit_lasts_ms: float = 0.0
    """How long it lasts, where it is a stretch of time: latency over it is the real-time factor."""


@dataclass(frozen=True)
class DataInfo:
    source: str
    train_rows: int | None = None
    eval_rows: int | None = None
    overlap: int | None = None
    """Evaluation rows that also stand in the training set."""
    sha256: str = ""
    details: Mapping[str, Plain] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArtifactRecord:
    name: str
    sha256: str
    parent: str | None = None
    """sha256 of the artifact it was made from."""
    made_by: str = ""
    precision: str = ""
    size_mb: float | None = None
    deployed: bool = False
    details: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """A diagnosis: what was seen and what to do about it."""

    sentence: str
    remedy: str = ""
    contender: str = ""
    word: str = ""
    """What kind of finding it is, to sort by: "lost class", "unsteady timing", "memory-bound"."""


@dataclass(frozen=True)
class StageTime:
    name: str
    seconds: float
    reused: bool = False
    """Taken from an earlier run with the same fingerprint; `seconds` is what it took there."""
