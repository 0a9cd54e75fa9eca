"""Who is measured, and what was measured of each: asked for by role and seed, and never by a name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kd2deploy.core import Artifact, Scores
from kd2deploy.core.speedups import Baseline
from kd2deploy.measure.timing import Contender, Timing
from kd2deploy.report import Role
from kd2deploy.stages.job import Model

Single = Literal[
    "teacher",
    "teacher_same_runtime",
    "teacher_best_file",
    "baseline",
    "baseline_same_runtime",
    "baseline_best_file",
    "student",
    "control",
]
"""The roles that one contender has, or one for each seed."""
BASELINES: tuple[Baseline, ...] = ("eager", "same_runtime", "best_file")
"""How what the deployed file is compared with may run; the gates choose one of them for the speed."""


@dataclass(frozen=True)
class Entry:
    """One contender. What was measured of it is empty until it has been, and where that failed."""

    contender: Contender
    model: Model
    """The network it was made of: how rows are read for it."""
    role: Role
    seed: int | None = None
    """Of the training that made the network; None for the teacher's."""
    chain: tuple[Artifact, ...] = ()
    """What was made of the network, conversion by conversion; empty where its own folder is what runs."""
    deployed: bool = False
    timed: bool = True
    scores: Scores | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)
    """What the metric's agreement reads of its outputs."""
    timing: Timing | None = None
    described: Mapping[str, str] = field(default_factory=dict)
    """What its session says is really active."""
    failure: str = ""
    """Why it could not be opened, scored or timed."""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.contender.name

    @property
    def artifact(self) -> Artifact:
        return self.contender.artifact


@dataclass(frozen=True)
class Unmade:
    """A contender that could not be made, with the reason."""

    name: str
    role: Role
    reason: str


@dataclass(frozen=True)
class Field:
    """All contenders. A run may lack a teacher and controls; the student and the deployed file are always there."""

    entries: tuple[Entry, ...]
    unmade: tuple[Unmade, ...] = ()

    @property
    def deployed(self) -> Entry:
        """The file that ships."""
        return next(entry for entry in self.entries if entry.deployed)

    @property
    def student(self) -> Entry:
        """The network that the deployed file was made of, as PyTorch runs it."""
        found = self.one("student")
        assert found is not None
        return found

    def one(self, role: Single, seed: int | None = None) -> Entry | None:
        """The contender in a role and of a seed, without a seed that which goes with the deployed file."""
        seeds = (None, self.deployed.seed if seed is None else seed)
        return next((entry for entry in self.entries if entry.role == role and entry.seed in seeds), None)

    def compared_with(self, kind: Baseline) -> Single:
        """The role of what the deployed file is compared with: a baseline where one stands apart, else the teacher."""
        apart = any(entry.role == "baseline" for entry in self.entries)
        if kind == "eager":
            return "baseline" if apart else "teacher"
        best: Single = "baseline_best_file" if apart else "teacher_best_file"
        if kind == "best_file" and (self.one(best) or self.failure(best)):
            return best
        return "baseline_same_runtime" if apart else "teacher_same_runtime"  # which may be its best file

    def baseline(self, kind: Baseline = "eager") -> Entry | None:
        """What the deployed file is compared with: its speed in either way, its score as PyTorch runs it."""
        return self.one(self.compared_with(kind))

    def by_seed(self, role: Single) -> dict[int, Entry]:
        """The contenders in a role that were trained, by their seed."""
        return {entry.seed: entry for entry in self.entries if entry.role == role and entry.seed is not None}

    def scores(self, role: Single, seed: int | None = None) -> Scores | None:
        """What `one` scored; None where it is absent too."""
        found = self.one(role, seed)
        return found.scores if found else None

    @property
    def links(self) -> tuple[Entry, ...]:
        """What the deployed file was made from, step by step from the student."""
        known = {entry.artifact.sha256: entry for entry in self.entries}
        return tuple(known[artifact.sha256] for artifact in self.deployed.chain[:-1])

    @property
    def failures(self) -> dict[str, str]:
        """Everyone who could not be made or measured, with the reason, by name."""
        unmade = {one.name: one.reason for one in self.unmade}
        return unmade | {entry.name: entry.failure for entry in self.entries if entry.failure}

    def failure(self, role: Single) -> tuple[str, str] | None:
        """Name and reason, where the contender in a role was wanted and could not be made or measured."""
        found = self.one(role)
        if found is not None:
            return (found.name, found.failure) if found.failure else None
        return next(((one.name, one.reason) for one in self.unmade if one.role == role), None)
