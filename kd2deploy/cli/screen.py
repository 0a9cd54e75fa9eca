"""What the person at the terminal asked to see: tables or JSON, progress or none, and how much is logged."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

Level = Literal["debug", "info", "warning", "error"]
WIDE = 1_000_000
"""Columns where nobody looks: what is piped or written to a file is neither wrapped nor cut."""


@dataclass
class Screen:
    """How one command shows what it does."""

    json: bool = False
    """One machine-readable result on stdout instead of tables."""
    quiet: bool = False
    """No progress: stderr holds warnings and errors alone."""
    level: Level = "warning"
    folder: Path | None = None
    """Where the command works, once it is known: a fault of the program is written down there."""


_CURRENT: ContextVar[Screen | None] = ContextVar("screen", default=None)


def screen() -> Screen:
    """The running command's; outside of one, what it is by default."""
    return _CURRENT.get() or Screen()


@contextmanager
def showing(wanted: Screen) -> Iterator[Screen]:
    """Show everything inside as `wanted`."""
    token = _CURRENT.set(wanted)
    try:
        yield wanted
    finally:
        _CURRENT.reset(token)


@contextmanager
def logging_at(level: Level) -> Iterator[None]:
    """The program's own log on stderr, from this level on."""
    log = logging.getLogger("kd2deploy")
    handler, before = OnStderr(), (log.level, log.propagate)
    log.addHandler(handler)
    log.setLevel(level.upper())
    log.propagate = False  # onnxruntime gives the root logger a handler of its own, and lines would come twice
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


class OnStderr(logging.Handler):
    """Log lines on stderr as it is now: progress bars put a stream of their own there, which prints above them."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(f"{record.levelname.lower()}: {record.name}: {record.getMessage()}", err=True)


def console(*, stderr: bool = False) -> "Console":
    """A console as wide as the terminal; without a terminal, as wide as it takes."""
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:  # rich would leave with 1, which is the verdict FAIL
            raise BrokenPipeError

    found = Ours(stderr=stderr, highlight=False)
    return found if found.is_terminal else Ours(stderr=stderr, highlight=False, width=WIDE)


def answer(found: Any, drawn: Callable[[], None]) -> None:
    """The command's result on stdout: plain values as one JSON document, or `drawn`."""
    if screen().json:
        typer.echo(json.dumps(found, indent=1, default=str))
    else:
        drawn()


def lines(found: list[str]) -> Callable[[], None]:
    """A result that is drawn as lines."""

    def draw() -> None:
        for line in found:
            typer.echo(line)

    return draw
