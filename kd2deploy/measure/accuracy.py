"""The task's score of an artifact: the deployed bytes, opened in a fresh process, on the real evaluation set."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from kd2deploy.core import Array, Features, Feed, Row, Session, Target, Task
from kd2deploy.core.figures import count_of
from kd2deploy.errors import MeasureError
from kd2deploy.measure.feeds import exchange, read_feed, write_feed
from kd2deploy.measure.forks import of_this_process
from kd2deploy.measure.processes import WorkerProcess
from kd2deploy.measure.scorer import Evaluation, Scorer, in_row_order
from kd2deploy.measure.timing import Contender
from kd2deploy.measure.worker import check_finite

ANSWER_S = 600.0
"""What one batch may take before its process counts as stuck."""


def score(
    contender: Contender,
    task: Task,
    target: Target,
    features: Sequence[Features],
    rows: Sequence[Row],
    *,
    batch: int = 32,
    scratch: Path | None = None,
) -> Evaluation:
    """Score an artifact in a process of its own, by the session that is timed too.

    Inputs and outputs go through files in the folder `scratch`, or where the system keeps temporary ones.
    Raises MeasureError for outputs that are not finite and for a process that dies; SessionError as the session does.
    """
    _same_length(features, rows)
    scorer = Scorer(task.metric, rows)
    with (
        exchange(scratch) as folder,
        WorkerProcess(contender, task.spec(), target, ANSWER_S, of_this_process()) as worker,
    ):
        described = worker.open()["describe"]
        asked, answered = folder / "feed.npz", folder / "outputs.npz"
        for places in by_length(task, features, batch):
            write_feed(task.reader.feed([features[place] for place in places]), asked)
            worker.ask("outputs", feed=str(asked), to=str(answered))
            scorer.add(read_feed(answered), places)
        worker.ask("close")
    return scorer.finish(described)


def score_open(
    session: Session, task: Task, features: Sequence[Features], rows: Sequence[Row], *, batch: int = 32
) -> Evaluation:
    """The same with a session that is already open in this process: for validation during training."""
    _same_length(features, rows)
    scorer = Scorer(task.metric, rows)
    for places, outputs in answered_in(session, task, features, batch):
        scorer.add(outputs, places)
    return scorer.finish(session.describe())


def score_answers(file: Path, task: Task, rows: Sequence[Row]) -> Evaluation:
    """The score of answers in a .npy file: logits [N, C], the rows in the order given. Raises MeasureError."""
    logits = np.load(file, allow_pickle=False)
    check_finite("logits", logits)
    scorer = Scorer(task.metric, rows)
    scorer.add({"logits": logits}, range(len(rows)))
    return scorer.finish({"runtime": "answers that were brought along"})


def outputs_of(session: Session, task: Task, features: Sequence[Features], *, batch: int = 32) -> dict[str, Array]:
    """An open session's outputs for all examples, in the order given: for who must see them all at once, to choose by.

    Raises MeasureError if they are not finite.
    """
    found = list(answered_in(session, task, features, batch))
    return in_row_order([outputs for _, outputs in found], [places for places, _ in found])


def answered_in(
    session: Session, task: Task, features: Sequence[Features], batch: int
) -> Iterator[tuple[list[int], Mapping[str, Array]]]:
    """Places and outputs, batch by batch. Raises MeasureError for outputs that are not finite."""
    for places in by_length(task, features, batch):
        found = session.run(task.reader.feed([features[place] for place in places]))
        for name, array in found.items():
            check_finite(name, array)
        yield places, found


def timing_feeds(task: Task, features: Sequence[Features], batch: int, inputs: int, seed: int = 0) -> list[Feed]:
    """`inputs` requests of `batch` examples each, drawn from the evaluation set as they come: what a race is run on."""
    drawn = timing_places(len(features), batch, inputs, seed)
    return [task.reader.feed([features[place] for place in places]) for places in drawn]


def timing_places(examples: int, batch: int, inputs: int, seed: int = 0) -> list[list[int]]:
    """The places of the examples of each request. Raises MeasureError where there are no examples."""
    if not examples:
        raise MeasureError("there are no examples to time; give an evaluation set with at least one row")
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([rng.permutation(examples) for _ in range(-(-batch * inputs // examples))]).tolist()
    wanted = min(inputs, max(1, examples // batch))
    return [drawn[turn * batch : (turn + 1) * batch] for turn in range(wanted)]


def by_length(task: Task, features: Sequence[Features], batch: int) -> list[list[int]]:
    """Places of the examples in batches of like length, longest first, so that too large a batch fails at once; one by
    one where the reader says so."""
    batch = 1 if task.reader.scored_alone else batch
    lengths = [task.reader.length(each) for each in features]
    order = sorted(range(len(features)), key=lambda place: (-lengths[place], place))
    return [order[start : start + batch] for start in range(0, len(order), batch)]


def _same_length(features: Sequence[Features], rows: Sequence[Row]) -> None:
    if len(features) != len(rows):
        raise MeasureError(
            f"{count_of(len(features), 'encoded example')} cannot be scored against {count_of(len(rows), 'row')}"
        )
