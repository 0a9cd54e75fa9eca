"""Marks inside one run: when the first part of an answer was there, and each further one."""

from typing import Any

from kd2deploy.core import Feed, Marking
from kd2deploy.measure.loop import Clock


class Marks:
    """Nanoseconds from the beginning of each run to its marks, run by run."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.taken: list[list[int]] = []

    def of_run(self, session: Marking, feed: Feed) -> Any:
        """One run of a session that answers part by part: its answer."""
        own: list[int] = []
        self.taken.append(own)
        begun = self.clock()
        return session.run_marked(feed, lambda: own.append(self.clock() - begun))

    def of_last(self, runs: int) -> dict[str, list[list[int]]]:
        """The marks of the last runs as a block holds them; nothing where none was marked."""
        return {"marks": self.taken[-runs:]} if self.taken else {}
