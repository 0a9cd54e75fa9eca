"""Single examples as a report shows them, for tasks whose answers a person can read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One row of the evaluation set, whose errors stand in the answers, marked as the task does."""

    row: int
    right: str
    before: str
    """What the network answered that is compared with."""
    after: str
    """What the deployed file answered."""
