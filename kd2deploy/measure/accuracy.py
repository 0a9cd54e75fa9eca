"""The task's score of an artifact: the deployed bytes, opened in a fresh process, on the real evaluation set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.core import Features, Feed, Row, Scores, Session, Target, Task
from kd2deploy.errors import MeasureError
from kd2deploy.measure.feeds import exchange, read_feed, write_feed
from kd2deploy.measure.processes import WorkerProcess
from kd2deploy.measure.timing import Contender
from kd2deploy.measure.worker import check_finite

Array = np.ndarray[Any, Any]
Outputs = dict[str, Array]


@dataclass(frozen=True)
class Evaluation:
    """An artifact's scores with the outputs they were made of, rows in the order given."""

    scores: Scores
    outputs: Mapping[str, Array]
    describe: Mapping[str, str] = field(default_factory=dict)


def score(
    contender: Contender,
    task: Task,
    target: Target,
    features: Sequence[Features],
    rows: Sequence[Row],
    *,
    batch: int = 32,
    timeout_s: float = 600.0,
    scratch: Path | None = None,
) -> Evaluation:
    """Score an artifact in a process of its own, by the session that is timed too.

    Inputs and outputs go through files in the folder `scratch`, or where the system keeps temporary ones.
    Raises MeasureError for outputs that are not finite and for a process that dies; SessionError as the session does.
    """
    _same_length(features, rows)
    parts: list[Outputs] = []
    batches = by_length(task, features, batch)
    with (
        exchange(scratch) as folder,
        WorkerProcess(contender, task.spec(), target, timeout_s) as worker,
    ):
        described = worker.open()["describe"]
        asked, answered = folder / "feed.npz", folder / "outputs.npz"
        for places in batches:
            write_feed(task.reader.feed([features[place] for place in places]), asked)
            worker.ask("outputs", feed=str(asked), to=str(answered))
            parts.append(dict(read_feed(answered)))
        worker.ask("close")
    outputs = in_row_order(parts, batches)
    return Evaluation(task.metric.score(outputs, rows), outputs, described)


def score_open(
    session: Session, task: Task, features: Sequence[Features], rows: Sequence[Row], *, batch: int = 32
) -> Evaluation:
    """The same with a session that is already open in this process: for validation during training."""
    _same_length(features, rows)
    outputs = outputs_of(session, task, features, batch=batch)
    return Evaluation(task.metric.score(outputs, rows), outputs, session.describe())


def outputs_of(session: Session, task: Task, features: Sequence[Features], *, batch: int = 32) -> Outputs:
    """An open session's outputs for all examples, in the order given. Raises MeasureError if they are not finite."""
    batches = by_length(task, features, batch)
    parts = []
    for places in batches:
        found = session.run(task.reader.feed([features[place] for place in places]))
        for name, array in found.items():
            check_finite(name, array)
        parts.append(dict(found))
    return in_row_order(parts, batches)


def timing_feeds(task: Task, features: Sequence[Features], batch: int, inputs: int, seed: int = 0) -> list[Feed]:
    """`inputs` requests of `batch` examples each, drawn from the evaluation set as they come: what a race is run on."""
    if not features:
        raise MeasureError("there are no examples to time; give an evaluation set with at least one row")
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([rng.permutation(len(features)) for _ in range(-(-batch * inputs // len(features)))])
    wanted = min(inputs, max(1, len(features) // batch))
    return [
        task.reader.feed([features[place] for place in drawn[turn * batch : (turn + 1) * batch]])
        for turn in range(wanted)
    ]


def by_length(task: Task, features: Sequence[Features], batch: int) -> list[list[int]]:
    """Places of the examples in batches of like length, longest first, so that too large a batch fails at once."""
    lengths = [task.reader.length(each) for each in features]
    order = sorted(range(len(features)), key=lambda place: (-lengths[place], place))
    return [order[start : start + batch] for start in range(0, len(order), batch)]


def in_row_order(parts: Sequence[Outputs], batches: Sequence[Sequence[int]]) -> Outputs:
    """Batches' outputs [b, ...] as one array per name [N, ...], in the examples' own order.

    Axes whose sizes differ between batches (padded positions) are filled up with zeros.
    """
    if not parts:
        raise MeasureError("there are no examples to score; give an evaluation set with at least one row")
    examples = sum(len(places) for places in batches)
    whole: Outputs = {}
    for name in parts[0]:
        pieces = [part[name] for part in parts]
        for piece, places in zip(pieces, batches, strict=True):
            if piece.ndim == 0 or len(piece) != len(places):
                raise MeasureError(
                    f"output {name!r} has shape {piece.shape} for a batch of {len(places)}: "
                    "its first axis must be the batch; export with a dynamic batch axis"
                )
        shape = tuple(max(piece.shape[axis] for piece in pieces) for axis in range(1, pieces[0].ndim))
        filled = np.zeros((examples, *shape), dtype=pieces[0].dtype)
        for piece, places in zip(pieces, batches, strict=True):
            filled[np.ix_(places, *(range(size) for size in piece.shape[1:]))] = piece
        whole[name] = filled
    return whole


def _same_length(features: Sequence[Features], rows: Sequence[Row]) -> None:
    if len(features) != len(rows):
        raise MeasureError(f"{len(features)} encoded examples cannot be scored against {len(rows)} rows")
