"""A worker's part of what is asked end to end: from rows as a client sends them to answers for a person.

What stands around the network is the task's own: its reader makes inputs of rows, its metric makes answers of outputs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd2deploy.core import Array, Mark, Prepare, Row, Session, build_task
from kd2deploy.core.rows import read_rows


@dataclass(frozen=True)
class Asked:
    """The requests as rows, and what makes inputs and answers."""

    requests: Sequence[Sequence[Row]]
    prepare: Prepare
    answer: Callable[[Mapping[str, Array]], Any]

    @classmethod
    def opened(cls, task: Mapping[str, Any], rows: Path, batch: int, folder: Path, as_bundle: bool) -> "Asked":
        """What reads the rows in a folder as `Served` says. Raises ModelError, DataError, TrustError."""
        built, known = build_task(task), read_rows(rows, copies=False)
        reader = built.reader.served() if as_bundle else built.reader
        requests = [known[at : at + batch] for at in range(0, len(known), batch)]
        return cls(requests, reader.preparing(folder), built.metric.answer)

    def run(self, session: Session, rows: Sequence[Row], mark: Mark) -> Any:
        """One request's answers; a mark behind the inputs, and one behind the network."""
        feed = self.prepare(rows)
        mark()
        found = session.run(feed)
        mark()
        return self.answer(found)
