"""What a pack's finish.py runs."""

from pathlib import Path

import typer

from kd2deploy.cli.errors import errors_shown
from kd2deploy.cli.interrupts import end_at_signals
from kd2deploy.cli.progress import on_terminal
from kd2deploy.cli.screen import Screen, console, showing
from kd2deploy.flows.finish import finish
from kd2deploy.report import print_report


def main(folder: Path, out: Path) -> int:
    """The verdict's exit code, or that of an error, with one clear message."""
    screen = Screen(folder=out)
    end_at_signals()
    try:
        with showing(screen), errors_shown(), on_terminal() as watcher:
            result = finish(folder, out, watcher)
    except typer.Exit as end:
        return end.exit_code
    print_report(result.report, console())
    return result.exit_code
