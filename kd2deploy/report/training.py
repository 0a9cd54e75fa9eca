"""How students came to be: the plan's candidates, training curves, what distillation brought, as a report holds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kd2deploy.core.estimate import Estimate
from kd2deploy.report.measurement import Role
from kd2deploy.report.origin import Plain


@dataclass(frozen=True)
class Candidate:
    """A student that the plan looked at, untrained."""

    name: str
    shape: Mapping[str, Plain]
    parameters: int | None = None
    latency: Estimate | None = None
    speedup: Estimate | None = None
    """Predicted, against the gate's baseline."""
    verdict: Literal["kept", "rejected", "chosen"] = "kept"
    reason: str = ""


@dataclass(frozen=True)
class CurvePoint:
    epoch: float
    losses: Mapping[str, float] = field(default_factory=dict)
    """Each term of the loss by name, unweighted or as logged; `loss` is the sum."""
    score: float | None = None
    """The headline metric on the validation rows."""


@dataclass(frozen=True)
class Curve:
    """One training run."""

    run: str
    role: Role
    points: tuple[CurvePoint, ...]
    seed: int | None = None


@dataclass(frozen=True)
class SeedResult:
    seed: int
    student: float | None = None
    control: float | None = None


@dataclass(frozen=True)
class Distillation:
    """What distillation itself brought: the student against the same student, same budget, no teacher."""

    method: str
    teacher: float | None = None
    seeds: tuple[SeedResult, ...] = ()
    gain: Estimate | None = None
    """Student - control, in the metric's unit."""
    gap_closed: Estimate | None = None
    """(student - control) / (teacher - control)."""
    student_spread: float | None = None
    """Standard deviation over seeds, in the metric's unit."""
    control_spread: float | None = None
    sentence: str = ""


@dataclass(frozen=True)
class LayerMap:
    """Which teacher layer each student layer learned from."""

    rule: str
    pairs: tuple[tuple[str, str], ...]
    """(student layer, teacher layer)."""
