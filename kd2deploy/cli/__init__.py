"""The command line: what is typed, what is shown, and with which exit code it ends."""

from kd2deploy.cli import runs, steps, lists  # isort: skip
from kd2deploy.cli.app import app, main
from kd2deploy.cli.errors import errors_shown

__all__ = ["app", "errors_shown", "lists", "main", "runs", "steps"]
