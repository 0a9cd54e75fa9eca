"""A comparison of methods as plain data: every method and the no-teacher control at an equal budget. JSON first."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter, ValidationError

from kd2deploy.core.estimate import Estimate
from kd2deploy.core.written import write_text
from kd2deploy.errors import RunError
from kd2deploy.report.origin import DataInfo, Plain, TaskInfo

SCHEMA_VERSION = 2
Budget = Literal["steps", "time"]
Word = Literal["better", "not told apart", "worse"]


@dataclass(frozen=True)
class SeedRun:
    """One training of one method."""

    seed: int
    score: float
    """The headline metric on the evaluation set."""
    steps: int
    seconds: float
    """Training alone."""
    setup: Mapping[str, float]
    """Seconds that it has to spend before its first step, by what takes them: filling the teacher's cache, deriving a
    generator. Charged in full to every training that needs it, also where several shared what was made once."""
    load: float
    """One-minute load average of the machine when it ended, this program's own work included."""

    @property
    def setup_s(self) -> float:
        return sum(self.setup.values())


@dataclass(frozen=True)
class Difference:
    """This method's metric minus another's, paired."""

    over_seeds: Estimate
    """Interval of Student's t over the seeds, which are the pairs."""
    over_examples: Estimate
    """The same trainings; interval over evaluation examples, which are the pairs."""
    word: Word
    """What `over_seeds` says: the interval lies above nought, holds it, or lies below."""


@dataclass(frozen=True)
class Standing:
    """How one method came out."""

    method: str
    role: Literal["method", "baseline", "control"]
    """`baseline` is plain logit distillation, `control` the training without a teacher."""
    trainings: tuple[str, ...]
    """What was run, in a row: method with arguments, and its steps."""
    runs: tuple[SeedRun, ...]
    mean: Estimate
    spread: float | None
    """Standard deviation over the seeds."""
    against_baseline: Difference | None
    against_control: Difference | None
    gap_closed: Estimate | None
    """(method - control) / (teacher - control)."""
    step_ms: float | None
    """Median over the seeds of training time per optimizer step; None where trainings ran beside each other."""
    cost: Estimate
    """Time per optimizer step over that of the control; none where trainings ran beside each other."""
    cached: bool
    """Whether the teacher's answers came from a cache rather than from running it."""
    generator: str
    """Which masked language model wrote text, and for a derived one how long it was trained; empty without one."""


@dataclass(frozen=True)
class Comparison:
    """All methods at an equal budget on one data set."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "allow_inf_nan": False}

    title: str
    budget: Budget
    budget_about: str
    """What was equal, in a sentence."""
    budget_s: float | None
    """Seconds of set-up and training for each where time was equal."""
    task: TaskInfo
    data: DataInfo
    teacher: float
    """The teacher's headline metric on the evaluation set."""
    sizes: Mapping[str, int]
    """Parameters of teacher and student."""
    standings: tuple[Standing, ...]
    """The best first."""
    seeds: tuple[int, ...]
    seeds_wanted: tuple[int, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Methods that could not be run, and why."""
    warnings: tuple[str, ...] = ()
    machine: Mapping[str, Plain] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    recipe: str = ""
    command: str = ""
    started: str = ""
    finished: str = ""
    schema_version: int = SCHEMA_VERSION

    def by_role(self, role: Literal["baseline", "control"]) -> Standing:
        return next(one for one in self.standings if one.role == role)

    @property
    def methods(self) -> tuple[Standing, ...]:
        """All that had a teacher."""
        return tuple(one for one in self.standings if one.role != "control")

    def write(self, path: Path) -> Path:
        write_text(path, json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return path

    @staticmethod
    def read(path: Path) -> "Comparison":
        """What `write` wrote. Raises RunError with what does not fit."""
        try:
            return _parser().validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RunError(f"{path}: {error.strerror}; give the comparison's JSON file") from error
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            raise RunError(f"{path} is not a comparison, or was changed by hand: " + "; ".join(faults)) from error


@cache
def _parser() -> TypeAdapter[Comparison]:
    return TypeAdapter(Comparison)
