"""What the terminal shows of a run while it works: the stage, the rate and the time left."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class OnTerminal:
    """Bars on a terminal; where there is none, a line per stage."""

    def __init__(self, console: "Console", bars: "Progress") -> None:
        self.console, self.bars = console, bars
        self.current: tuple[str, TaskID] | None = None
        self.running = ""

    def stage(self, name: str, state: str) -> None:
        self.close()
        self.running = name
        if state != "running":
            mark = "[green]done[/]  " if state == "done" else "[dim]reused[/]"
            self.console.print(f"{mark} {name}", highlight=False)
        elif not self.console.is_terminal:
            self.console.print(f"start  {name}", highlight=False)

    def advance(self, what: str, done: float, total: float) -> None:
        if self.current is None or self.current[0] != what:
            self.close()
            self.current = (what, self.bars.add_task(f"{self.running}: {what}", total=total))
        self.bars.update(self.current[1], completed=done, total=total)

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False)

    def close(self) -> None:
        if self.current is not None:
            self.bars.remove_task(self.current[1])
            self.current = None


@contextmanager
def on_terminal() -> Iterator[OnTerminal]:
    """Progress bars on stderr, so that stdout holds results alone."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Units per second, over the recent past."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.3g}/s", style="progress.data.speed")

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate())
    bars = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    with bars:
        yield OnTerminal(console, bars)
