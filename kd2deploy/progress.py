"""What a run tells of itself while it works: to whoever watches."""

from typing import Protocol


class Watcher(Protocol):
    """Somebody who is told how far the work is."""

    def stage(self, name: str, state: str) -> None:
        """A stage is `running`, `done` or `reused`."""

    def advance(self, what: str, done: float, total: float) -> None:
        """`done` of `total` units of the stage's current piece of work."""

    def say(self, text: str) -> None:
        """A line worth keeping on the screen."""


class Silent:
    """A watcher that says nothing: the default of the Python interface."""

    def stage(self, name: str, state: str) -> None: ...

    def advance(self, what: str, done: float, total: float) -> None: ...

    def say(self, text: str) -> None: ...
