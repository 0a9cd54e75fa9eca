"""The options that every command has, and what surrounds every command: how it shows itself, and how it ends."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from kd2deploy.cli.errors import errors_shown
from kd2deploy.cli.screen import Level, Screen, logging_at, screen, showing

PANEL = "Output"
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, errors too.", rich_help_panel=PANEL)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.", rich_help_panel=PANEL)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="The same as --log-level info.", rich_help_panel=PANEL)]
LogLevel = Annotated[Level, typer.Option(help="How much is logged on stderr.", rich_help_panel=PANEL)]


def asked(
    json: Json = False, quiet: Quiet = False, verbose: Verbose = False, log_level: LogLevel = "warning"
) -> Screen:
    """What these options ask for, beside what was asked for before the command's name."""
    before = screen()
    level: Level = log_level if log_level != "warning" else "info" if verbose else before.level
    return Screen(before.json or json, before.quiet or quiet, level)


OPTIONS = tuple(
    parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in inspect.signature(asked).parameters.values()
)


def command(app: typer.Typer, **settings: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command of the program: `app.command`, with the common options added to its own."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(**given: Any) -> None:
            common = {option.name: given.pop(option.name) for option in OPTIONS}
            with showing(asked(**common)) as shown, logging_at(shown.level), errors_shown():
                function(**given)

        signature = inspect.signature(function)
        run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *OPTIONS])  # type: ignore[attr-defined]
        run.__annotations__ = {**function.__annotations__, **asked.__annotations__, "return": None}
        app.command(**settings)(run)
        return function

    return register
