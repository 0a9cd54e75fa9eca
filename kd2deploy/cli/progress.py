"""What the terminal shows of a run while it works: on stderr, so that stdout holds results alone."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from kd2deploy.cli.screen import console, screen
from kd2deploy.core.watcher import Watcher

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

EVERY_S = 15.0
"""Seconds between two lines where there is no terminal to draw bars on."""
BEFORE = "starting"
"""What is going on before the first stage: libraries are loaded, data is read and checked."""


@contextmanager
def on_terminal() -> Iterator[Watcher]:
    """Bars on a terminal; where there is none, lines; with `--quiet`, warnings alone."""
    err = console(stderr=True)
    if screen().quiet:
        yield Warnings()
    elif err.is_terminal:
        with bars(err) as drawn:
            yield OnTerminal(err, drawn)
    else:
        lines = Lines(lambda text: typer.echo(text, err=True))
        with beating(lines.beat):
            yield lines


class Warnings:
    """Nothing but what must be seen."""

    def stage(self, name: str, state: str) -> None: ...

    def advance(self, what: str, done: float, total: float, note: str = "") -> None: ...

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        typer.echo(f"warning: {text}", err=True)


# bars -------------------------------------------------------------------------------------------------------


class OnTerminal:
    """A bar from the first second on: a moving one until it is known how much there is to do."""

    def __init__(self, console: "Console", bars: "Progress") -> None:
        self.console, self.bars = console, bars
        self.running, self.begun = BEFORE, time.monotonic()
        self.what = ""
        self.task: TaskID | None = None
        self.begin("")

    def begin(self, what: str) -> None:
        """A new bar for the next piece of work."""
        if self.task is not None:
            self.bars.remove_task(self.task)
        named = f"{self.running}: {what}" if what else self.running
        self.what, self.task = what, self.bars.add_task(named, total=None, note="")

    def stage(self, name: str, state: str) -> None:
        if state == "running":
            self.running, self.begun = name, time.monotonic()
        else:
            self.running = "working"
            took = f"  ({in_time(time.monotonic() - self.begun)})" if state == "done" else ""
            self.line(f"{state:<6}", "green" if state == "done" else "dim", f"{name}{took}")
        self.begin("")

    def advance(self, what: str, done: float, total: float, note: str = "") -> None:
        if what != self.what:
            self.begin(what)
        assert self.task is not None
        self.bars.update(self.task, completed=done, total=total, note=note)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        self.line("warning", "yellow", text)

    def line(self, mark: str, style: str, text: str) -> None:
        """One print for the whole line: the bars are drawn anew after each. The text is never read as markup."""
        from rich.text import Text

        self.console.print(Text.assemble((mark, style), " ", text))


def bars(console: "Console") -> "Progress":
    """What is done, how fast, how long since, how long still; as wide as the terminal."""
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Amount(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.total is None else f"{task.completed:.10g}/{task.total:.10g}", "progress.download")

    class Rate(ProgressColumn):
        """Units per second, over the recent past."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.3g}/s", "progress.data.speed")

    class Clock(ProgressColumn):
        """Time since the piece of work began, and what is left of it."""

        def render(self, task: Task) -> Text:
            left = task.time_remaining
            said = in_time(task.elapsed or 0.0)
            return Text(said if left is None else f"{said}, {in_time(left)} left", "progress.elapsed")

    def one_line() -> Column:
        return Column(no_wrap=True)

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=one_line()),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4)),
        Amount(one_line()),
        Rate(one_line()),
        TextColumn("{task.fields[note]}", markup=False, table_column=one_line()),
        Clock(one_line()),
        console=console,
        transient=True,
        expand=True,
    )


# lines ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """The piece of work that is going on."""

    what: str
    begun: float
    first: float = 0.0
    """How much of it was done when it was first heard of: a training that goes on does not begin at nothing."""
    done: float = 0.0
    total: float = 0.0
    note: str = ""

    def said(self, stage: str, now: float) -> str:
        elapsed = now - self.begun
        parts = [f"{stage}: {self.what}" if self.what else stage]
        if self.total:
            parts[0] += f" {self.done:.10g}/{self.total:.10g} ({self.done / self.total:.0%})"
        if self.note:
            parts.append(self.note)
        made = self.done - self.first
        if made > 0 and elapsed > 0:
            parts.append(f"{made / elapsed:.3g}/s")
        parts.append(f"{in_time(elapsed)} elapsed")
        if made > 0:
            parts.append(f"{in_time(elapsed * (self.total - self.done) / made)} left")
        return ", ".join(parts)


class Lines:
    """A line when a stage begins and ends, and one every some seconds between, whether or not anything was heard."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.write, self.clock = write, clock
        self.running, self.begun = BEFORE, clock()
        self.piece = Piece("", self.begun)

    def stage(self, name: str, state: str) -> None:
        now = self.clock()
        if state == "running":
            self.running, self.begun = name, now
            self.write(f"start  {name}")
        else:
            self.running = "working"
            self.write(f"{state:<6} {name}" + (f"  ({in_time(now - self.begun)})" if state == "done" else ""))
        self.piece = Piece("", now)

    def advance(self, what: str, done: float, total: float, note: str = "") -> None:
        known = self.piece if self.piece.what == what else Piece(what, self.clock(), first=done)
        self.piece = Piece(what, known.begun, known.first, done, total, note)

    def say(self, text: str) -> None:
        self.write(text)

    def warn(self, text: str) -> None:
        self.write(f"warning: {text}")

    def beat(self) -> None:
        """What is going on now, in one line."""
        self.write(self.piece.said(self.running, self.clock()))


@contextmanager
def beating(beat: Callable[[], None], every_s: float = EVERY_S) -> Iterator[None]:
    """Call `beat` every some seconds from a thread, for as long as the block runs."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(every_s):
            beat()

    thread = threading.Thread(target=keep, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def in_time(seconds: float) -> str:
    """`12 s`, `3:04` or `1:02:33`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
