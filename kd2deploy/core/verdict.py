"""What a run comes to: a verdict, made of what was measured against each limit."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from kd2deploy.core.estimate import Estimate
from kd2deploy.core.figures import Unit

Bound = Literal["at_most", "at_least"]


class Outcome(StrEnum):
    """What a gate, or the whole run, came to. Exit code 2 is kept for errors that are the user's to fix."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self]


EXIT_CODES: Mapping[Outcome, int] = {
    Outcome.PASS: 0,
    Outcome.FAIL: 1,
    Outcome.INCONCLUSIVE: 3,
    Outcome.INVALID: 4,
}


@dataclass(frozen=True)
class GateResult:
    """One limit, what was measured, and what follows."""

    name: str
    """The recipe's own name: `max_drop`, `min_speedup`, `p99_ms`."""
    bound: Bound
    limit: float
    unit: Unit
    estimate: Estimate
    outcome: Outcome
    sentence: str
    """With the interval, and what would decide it where nothing is decided."""
    brief: str = ""
    """What the verdict's own sentence says of it."""


@dataclass(frozen=True)
class Verdict:
    """The overall outcome with its gates."""

    outcome: Outcome
    sentence: str
    """What a colleague should remember, in one sentence."""
    gates: tuple[GateResult, ...] = ()
    reasons: tuple[str, ...] = ()
    """What made it INVALID, a sentence each."""

    @property
    def exit_code(self) -> int:
        return self.outcome.exit_code

    @property
    def further(self) -> tuple[str, ...]:
        """The reasons that the sentence does not name."""
        return tuple(reason for reason in self.reasons if reason not in self.sentence)

    @property
    def told(self) -> str:
        """The sentence without the outcome's word, for a page that has just shown it."""
        return self.sentence.removeprefix(f"{self.outcome}: ")
