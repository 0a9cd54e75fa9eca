"""The program. Exit codes: 0 PASS (or done), 1 FAIL, 2 user error, 3 INCONCLUSIVE, 4 INVALID, 70 a fault of ours."""

import os
from typing import Annotated

import typer

from kd2deploy.cli.interrupts import end_at_signals
from kd2deploy.cli.options import Json, LogLevel, Quiet, Verbose, asked
from kd2deploy.cli.screen import showing

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="From a big model to a small, fast, deployed one, with proof. "
    "Exit codes: 0 PASS, 1 FAIL, 2 user error, 3 INCONCLUSIVE, 4 INVALID, 70 a fault of the program.",
)


def version_shown(wanted: bool) -> None:
    if wanted:
        from kd2deploy import __version__

        typer.echo(f"kd2deploy {__version__}")
        raise typer.Exit


@app.callback()
def before_every_command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=version_shown, is_eager=True, help="Print the version.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_level: LogLevel = "warning",
) -> None:
    context.with_resource(showing(asked(json, quiet, verbose, log_level)))


def main() -> None:
    """The console script."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    end_at_signals()
    app()
