"""Errors as a person meets them: one clear message and an exit code, never a traceback."""

import contextlib
import os
import sys
from collections.abc import Iterator

import typer

USER_ERROR = 2
INTERRUPTED = 130


@contextlib.contextmanager
def errors_shown() -> Iterator[None]:
    """One clear message and the documented exit code for whatever is the user's to fix; never a traceback."""
    from kd2deploy.errors import Kd2DeployError

    try:
        yield
    except Kd2DeployError as error:
        from kd2deploy.errors import RecipeError

        if isinstance(error, RecipeError):
            typer.echo(f"{len(error.faults)} fault{'s' if len(error.faults) != 1 else ''} to mend:", err=True)
            for fault in error.faults:
                typer.echo(f"  {fault}", err=True)
        else:
            typer.echo(f"error: {error}", err=True)
        raise typer.Exit(USER_ERROR) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command continues from here", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        typer.echo(f"error: {place}{error.strerror or error}; check the path, its rights and the disk", err=True)
        raise typer.Exit(USER_ERROR) from None
