"""A network or bundle that is given by its place, and the inputs to run it on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd2deploy.core import Feed, Row, Target, Task, build_task
from kd2deploy.data.files import files, places_of
from kd2deploy.data.prepare import check_columns
from kd2deploy.errors import DataError, ModelError
from kd2deploy.exporters.bundle import MANIFEST, read_bundle
from kd2deploy.measure.accuracy import timing_feeds
from kd2deploy.networks.configuration import read_config
from kd2deploy.recipe.from_flags import guessed, require_there, task_called
from kd2deploy.stages.job import Model, encoded, model_at
from kd2deploy.train.checkpoint import locate

Reading = Mapping[str, Any]
"""Arguments of the task beside its classes."""


@dataclass(frozen=True)
class Given:
    """What a command is told of its networks and of the rows to run them on."""

    task: str
    """The task by name, for a network that no bundle describes."""
    columns: Mapping[str, str | None]
    data: str | None = None
    """Rows in a file; seeded inputs where there are none."""
    max_length: int | None = None
    """Tokens read of a text, where no bundle says it."""

    @property
    def reading(self) -> Reading:
        return reading_of(self.task, self.columns, self.max_length)


SYNTHETIC = 32
"""Seeded inputs where no data is given."""


ROWS = 512


def reading_of(task_name: str, columns: Mapping[str, str | None], max_length: int | None) -> Reading:
    """How a network reads its inputs, as far as its own configuration does not say: pairs, and how much of a text."""
    implied = task_called(task_name).reads.implied(columns)
    return {**implied, **({} if max_length is None else {"max_length": max_length})}


def network(name: str, task_name: str, reading: Reading) -> Model:
    """A fine-tuned network with the task that its bundle or its own configuration describes. Raises ModelError."""
    if Path(name, MANIFEST).is_file():
        return model_at(Path(name), read_bundle(Path(name)).task)
    folder = locate(name)
    config = read_config(folder)
    labels = config.get("id2label") or {}
    ordered = [str(labels[key]) for key in sorted(labels, key=int)]
    kind = task_called(task_name)  # a class of one's own may be named here: whoever types its name trusts it
    one_number = config.get("problem_type") == "regression" or len(ordered) == 1
    if one_number and not kind.own_classes:  # one output is a number, not a class
        ordered = []
    try:
        classes = {"labels": ordered} if kind.own_classes or not kind.own_target else {}
        task = build_task({"use": task_name, **classes, **reading})
    except ModelError as error:
        raise ModelError(f"{name} does not fit the task {kind.name!r}: {error}; choose another with --task") from error
    task.reader.check_inputs(folder)
    return model_at(folder, task)


def feeds_of(model: Model, target: Target, given: Given, batch: int) -> list[Feed]:
    """Real inputs where there is data, else seeded ones of a middling size."""
    return requests_of(model, target, rows_of(type(model.task), given), batch)


def requests_of(model: Model, target: Target, rows: Sequence[Row] | None, batch: int) -> list[Feed]:
    """Requests of these rows as the network reads them; seeded ones where there are none."""
    if rows is None:
        return synthetic(model, batch)
    features = encoded(model.task, rows, model.folder)
    return timing_feeds(model.task, features, batch, target.workload.inputs)


def rows_of(kind: type[Task], given: Given) -> list[Row] | None:
    """The first rows of the file that was given, without their labels; None without one.

    Raises RecipeError, DataError.
    """
    data = given.data
    if data is None:
        return None
    require_there(data, "--data")
    rows = files(data, data, **columns_of(kind, data, given.columns)).eval[:ROWS]
    if not rows:
        raise DataError(f"{data} holds no rows; give a file with at least one")
    check_columns(rows, kind.reads.fields(kind.reads.implied(given.columns)), data, "Give the column that name")
    return [{**row, "label": None, "index": place} for place, row in enumerate(rows)]


def columns_of(kind: type[Task], data: str, columns: Mapping[str, str | None]) -> dict[str, Any]:
    """The columns that were named, and the usual names of the others; no label is needed."""
    return guessed(kind, places_of(data)[0], columns, also=())


def synthetic(model: Model, batch: int) -> list[Feed]:
    net = model.task.networks.load(model.folder)
    example = model.task.networks.example(net, batch)
    return [{port.name: example[port.name].numpy() for port in model.task.inputs} for _ in range(SYNTHETIC)]
