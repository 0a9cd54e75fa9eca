"""The errors a user may meet. Each message says what was given, what is accepted and where to change it."""

from collections.abc import Sequence
from dataclasses import dataclass


class Kd2DeployError(Exception):
    """Parent of every error that is the user's to fix; the command line prints it without a traceback."""


def first_line(error: BaseException) -> str:
    """What a library's error says in one line; with the next one where the first only announces that."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])[:300]


@dataclass(frozen=True)
class Fault:
    """One fault of a recipe: where it stands in the file (`distill[0].method.dim`) and what to do about it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


MOST_FAULTS = 20
"""Shown of a recipe; a file that has more is not what it is taken for."""


class RecipeError(Kd2DeployError):
    """A recipe that cannot run. Carries all its faults, not just the first."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        more = [Fault("", f"and {len(faults) - MOST_FAULTS} more")] if len(faults) > MOST_FAULTS else []
        self.faults = (*faults[:MOST_FAULTS], *more)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class DataError(Kd2DeployError):
    """Data that cannot be read or cannot be trained on or judged by."""


class ModelError(Kd2DeployError):
    """A model folder that cannot be loaded, or a pair of models that cannot be distilled."""


class TrainError(Kd2DeployError):
    """Training that cannot go on, such as a loss that is no longer finite."""


class TrackError(Kd2DeployError):
    """A tracker that cannot be told: not reachable, not logged in, or without room."""


class ConvertError(Kd2DeployError):
    """A converter that cannot turn one artifact into the next."""


class DisagreementError(ConvertError):
    """A conversion whose answers are not those of its source: milder arithmetic may mend it."""


class SessionError(Kd2DeployError):
    """A runtime that is not the one asked for, or an artifact that is not the one that was made."""


class MeasureError(Kd2DeployError):
    """A measurement that would not be worth its number."""


class NotFiniteError(MeasureError):
    """Outputs that hold NaN or infinity: milder arithmetic may mend it."""


class RunError(Kd2DeployError):
    """A run folder that cannot be used: locked, read-only, full, or changed by another hand."""


class Killed(RunError):
    """A process was killed, and the stage that it worked on with it."""


class TrustError(Kd2DeployError):
    """Code that only a file names, which is not run, or a file that is not the one that was written."""
