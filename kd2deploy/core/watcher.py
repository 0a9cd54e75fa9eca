"""What a run tells of itself while it works: to whoever watches."""

from collections.abc import Callable
from typing import Protocol


class Watcher(Protocol):
    """Somebody who is told how far the work is."""

    def stage(self, name: str, state: str) -> None:
        """A stage is `running`, `done` or `reused`; or `waiting`, for another process that does it."""

    def advance(self, what: str, done: float, total: float, note: str = "") -> None:
        """`done` of `total` units of the stage's current piece of work; the note is what is seen of it: its loss."""

    def say(self, text: str) -> None:
        """A line worth keeping on the screen."""

    def warn(self, text: str) -> None:
        """A line that somebody who asked for silence must see too."""


class Silent:
    """A watcher that says nothing: the default of the Python interface."""

    def stage(self, name: str, state: str) -> None: ...

    def advance(self, what: str, done: float, total: float, note: str = "") -> None: ...

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


def in_hundredths(watcher: Watcher, what: str) -> Callable[[str, float], None]:
    """A race's progress as the watcher's: in hundredths, with the race's own sentence as the note."""
    return lambda sentence, share: watcher.advance(what, round(100 * share), 100, sentence)
