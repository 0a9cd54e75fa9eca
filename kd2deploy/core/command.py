"""The command line that this process was started by."""

import shlex
import sys
from pathlib import Path


def typed_command() -> str:
    """The command as it was typed: the program by its name alone, for where it is installed is of this machine."""
    program, *rest = sys.argv or [""]
    name = "kd2deploy" if Path(program).parts[-2:] == ("kd2deploy", "__main__.py") else Path(program).name
    return shlex.join([name, *rest])
