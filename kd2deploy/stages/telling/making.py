"""How a report was made: by which command, when, and through which stages."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from kd2deploy.core.command import typed_command
from kd2deploy.report import Report, StageTime
from kd2deploy.run import Run

Sign = Callable[[Report], Report]
"""Says on a report how it was made: the command, the times and the stages."""


def sign(report: Report, run: Run, command: str, began: datetime, before: Sequence[StageTime] = ()) -> Report:
    """The report with how it was made; `before` are the stages of an earlier run that this one goes on from."""
    return replace(
        report,
        command=command or typed_command(),
        started=began.isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        stages=(*before, *(StageTime(stage.name, stage.seconds, stage.reused) for stage in run.done)),
    )
