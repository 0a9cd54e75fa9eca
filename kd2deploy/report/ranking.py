"""Comparisons over several data sets as plain data: every method's rank on each, and which mean ranks differ."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from kd2deploy.core.written import write_text
from kd2deploy.report.comparison import Budget
from kd2deploy.report.origin import TaskInfo

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Contested:
    """One data set, and where its own comparison lies."""

    name: str
    about: str
    task: TaskInfo
    labelled: int
    unlabelled: int
    teacher: float
    """The teacher's headline metric."""
    page: str
    """Relative to the ranking's own folder."""


@dataclass(frozen=True)
class Ranked:
    """One method over all data sets."""

    method: str
    role: Literal["method", "baseline", "control"]
    trainings: tuple[str, ...]
    mean_rank: float
    """1 is the best; equal scores share their ranks."""
    scores: tuple[float, ...]
    """Mean over the seeds, for each data set."""
    gaps_closed: tuple[float | None, ...]
    """(method - control) / (teacher - control), where the teacher is surely ahead of the control."""
    better: int
    """Data sets on which it is surely better than no teacher."""
    worse: int


@dataclass(frozen=True)
class Ranking:
    budget: Budget
    data: tuple[Contested, ...]
    methods: tuple[Ranked, ...]
    """The best first."""
    critical_difference: float | None
    """Mean ranks farther apart than this differ at 5 %."""
    p_value: float | None
    """Friedman's test over the data sets."""
    alike: tuple[tuple[int, ...], ...]
    """Places in `methods` whose mean ranks cannot be told apart, the largest such groups."""
    seeds: tuple[int, ...]
    left_out: tuple[str, ...] = ()
    """Methods that do not stand in every comparison."""
    command: str = ""
    finished: str = ""
    schema_version: int = SCHEMA_VERSION

    def write(self, path: Path) -> Path:
        write_text(path, json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return path
