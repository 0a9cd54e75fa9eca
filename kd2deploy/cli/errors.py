"""How a command ends when it cannot go on: one clear message and an exit code of its own, never a traceback."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from kd2deploy.cli.crash import out_of_memory, own_code, written_down
from kd2deploy.cli.interrupts import INTERRUPTED, TERMINATED, interruption
from kd2deploy.cli.screen import screen
from kd2deploy.core.figures import count_of
from kd2deploy.errors import Fault, Kd2DeployError, RecipeError

USER_ERROR = 2
CRASHED = 70
"""EX_SOFTWARE of sysexits.h. Never 1, which is the verdict FAIL."""
READER_GONE = 141
"""What a shell gives for a command whose reader went away (SIGPIPE)."""
MEMORY = (
    "memory ran out ({error}); train with a smaller `batch` and as much `accumulate`, read less of a text "
    "(`max_length`) or fewer rows (`limit_train`, `limit_eval`), or free some memory; the same command continues"
)


@contextmanager
def errors_shown() -> Iterator[None]:
    """One clear message and the documented exit code for whatever happens inside."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except Kd2DeployError as error:
        tell(USER_ERROR, str(error), error.faults if isinstance(error, RecipeError) else ())
        raise typer.Exit(USER_ERROR) from None
    except KeyboardInterrupt as end:
        code, message = interruption(end, resumes=screen().folder is not None)
        tell(code, message)
        raise typer.Exit(code) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(READER_GONE) from None
    except Exception as error:  # the border of the program: what is no error of ours must not look like a verdict
        if type(error).__module__.startswith("typer."):  # wrong usage, which typer itself shows
            raise
        if out_of_memory(error):
            tell(USER_ERROR, MEMORY.format(error=" ".join(str(error).split())[:200] or type(error).__name__))
            raise typer.Exit(USER_ERROR) from None
        if isinstance(error, OSError):
            place = f"{error.filename}: " if error.filename is not None else ""
            tell(USER_ERROR, f"{place}{error.strerror or error}; check the path, its rights and the disk")
            raise typer.Exit(USER_ERROR) from None
        code = USER_ERROR if own_code(error) else CRASHED
        tell(code, written_down(error, screen().folder))
        raise typer.Exit(code) from None


def tell(code: int, message: str, faults: tuple[Fault, ...] = ()) -> None:
    """The message on stderr; on stdout too where one JSON document is asked for."""
    if faults:
        typer.echo(f"{count_of(len(faults), 'fault')} to mend:", err=True)
        for fault in faults:
            typer.echo(f"  {fault}", err=True)
    else:
        typer.echo(message if code in (INTERRUPTED, TERMINATED) else f"error: {message}", err=True)
    if screen().json:
        named = [{"path": fault.path, "message": fault.message} for fault in faults]
        typer.echo(json.dumps({"exit_code": code, "error": message, "faults": named}, indent=1))
