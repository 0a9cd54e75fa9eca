"""Single rows of the evaluation set for a person to look at: answers in words, or in a picture.

What can be told in words is told of the rows that changed most, out of what was kept of all of them (`Metric.told`).
What must be shown is answered anew by every network, for a few rows alone (`Task.shown`).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One row in words, whose errors stand in the answers, marked as the task does."""

    row: int
    right: str
    before: str
    """What the network answered that is compared with."""
    after: str
    """What the deployed file answered."""


@dataclass(frozen=True)
class Shown:
    """One row in a picture: what was given, what several networks made of it and what is right."""

    caption: str
    """What is seen, and in which order."""
    picture: str
    """A PNG in base64."""
