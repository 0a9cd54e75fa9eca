"""A converter makes one artifact of another: `<target>_from_<source>`, a plain function in `exporters/`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from kd2deploy.core.artifact import Artifact
from kd2deploy.core.session import Feed
from kd2deploy.core.target import Target
from kd2deploy.core.task import Task


class Converter(Protocol):
    """`samples` are feeds of real rows (never of the evaluation set), for calibration and for checking agreement.

    Further keyword arguments are set in the target's variant. Raises ConvertError with the remedy.
    """

    def __call__(
        self, source: Artifact, task: Task, target: Target, folder: Path, samples: Sequence[Feed]
    ) -> Artifact: ...
