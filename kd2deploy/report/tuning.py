"""A search for settings as plain data: every trial, what it cost, and how the best of them was judged. JSON first."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from kd2deploy.core.estimate import Estimate
from kd2deploy.core.written import write_text
from kd2deploy.report.origin import Plain, TaskInfo
from kd2deploy.report.training import SeedResult

SCHEMA_VERSION = 1
Outcome = Literal["finished", "pruned", "failed", "refused", "repeated"]


@dataclass(frozen=True)
class Trial:
    """One setting that was tried."""

    number: int
    """From 1, in the order in which they were proposed."""
    params: Mapping[str, Plain]
    """What of the space it has; a method's arguments only where that method was tried."""
    outcome: Outcome
    """`pruned`: ended early; `failed`: on its way; `refused`: before it began; `repeated`: an earlier one had the same
    values."""
    score: float | None
    """The headline metric on the validation rows, of the best student until it ended."""
    share: float = 0.0
    """How much of its training it went through."""
    steps: int = 0
    """Optimizer steps that it is charged for."""
    seconds: float = 0.0
    note: str = ""
    """Why it has no score, or whose."""


@dataclass(frozen=True)
class Final:
    """A trial's training again with the recipe's other seeds."""

    trial: int
    """Its number."""
    scores: tuple[float | None, ...]
    """The headline metric on the validation rows, for each of the recipe's seeds after the first; None where it failed.
    The trial's own score is not among them: it is what chose the trial."""

    @property
    def mean(self) -> float | None:
        whole = [one for one in self.scores if one is not None]
        return sum(whole) / len(whole) if len(whole) == len(self.scores) else None


@dataclass(frozen=True)
class Search:
    """All trials of the student, or of the control."""

    role: Literal["student", "control"]
    space: Mapping[str, Mapping[str, Any]]
    """By name the range: `low`, `high` and `log`, or `one of`."""
    own: Mapping[str, Plain]
    """The recipe's own values: the first trial, where all of them lie in the space."""
    trials: tuple[Trial, ...]
    best: int
    """The number of the trial that won: the best of the finals, or where there are none of those that were finished."""
    steps: int
    """Of all trials and finals, as are the seconds."""
    seconds: float
    ended: str
    """Why it ended."""
    finals: tuple[Final, ...] = ()
    """The best trials, and the recipe's own, with other seeds. None where the recipe has one seed, or where the budget
    did not hold two."""

    @property
    def own_trial(self) -> Trial | None:
        """The trial of the recipe's own values."""
        return next((one for one in self.trials if dict(one.params) == dict(self.own)), None)

    @property
    def names(self) -> list[str]:
        """Everything that was tried, in the space's order, the method first."""
        tried = dict.fromkeys(name for one in self.trials for name in one.params)
        return [*(name for name in tried if name not in self.space), *(name for name in self.space if name in tried)]

    @property
    def winner(self) -> Trial:
        return self.trials[self.best - 1]

    def count(self, outcome: Outcome) -> int:
        return sum(one.outcome == outcome for one in self.trials)


@dataclass(frozen=True)
class Judged:
    """What the tuned student came to on one target, against the tuned control."""

    target: str
    outcome: str
    """The verdict's word; empty where the run ended before one."""
    sentence: str
    """What distillation brought."""
    seeds: tuple[SeedResult, ...]
    """The headline metric on the evaluation rows, by seed."""
    gain: Estimate | None
    page: str
    """The report, relative to the tuning's own folder."""


@dataclass(frozen=True)
class Tuning:
    title: str
    task: TaskInfo
    data: str
    budget: str
    """What each search might spend, in words."""
    searches: tuple[Search, ...]
    """The student's, then the control's where there is one."""
    tuned: str
    """The recipe that came of it."""
    recipe: str
    """The recipe that was tuned."""
    seeds: tuple[int, ...] = ()
    judged: tuple[Judged, ...] = ()
    """Empty until it was judged."""
    machine: Mapping[str, Plain] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    started: str = ""
    finished: str = ""
    schema_version: int = SCHEMA_VERSION

    def write(self, path: Path) -> Path:
        write_text(path, json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return path
