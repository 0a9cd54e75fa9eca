"""Marks inside one run: when the first part of an answer was there, and each further one."""

from collections.abc import Callable
from typing import Any, TypeVar

from kd2deploy.core import Mark
from kd2deploy.measure.loop import Clock

Given = TypeVar("Given")


class Marks:
    """Nanoseconds from the beginning of each run to its marks, run by run."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.taken: list[list[int]] = []

    def of_run(self, run: Callable[[Given, Mark], Any], given: Given) -> Any:
        """One run of what marks its parts: its answer."""
        own: list[int] = []
        self.taken.append(own)
        begun = self.clock()
        return run(given, lambda: own.append(self.clock() - begun))

    def of_last(self, runs: int) -> dict[str, list[list[int]]]:
        """The marks of the last runs as a block holds them; nothing where none was marked."""
        return {"marks": self.taken[-runs:]} if self.taken else {}
