"""prepare: load the data, check it, and split off what is chosen by."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kd2deploy.core import Metric, Reader, Task, TaskNetworks
from kd2deploy.core.signatures import refused_calls
from kd2deploy.core.watcher import Watcher
from kd2deploy.data.prepare import prepare as split
from kd2deploy.data.prepare import with_training_rows
from kd2deploy.data.splits import Splits
from kd2deploy.data.tables import Made, Tables
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.recipe import Block, Recipe, is_labels_missing
from kd2deploy.recipe.resolve import Use, bind, one_line
from kd2deploy.run import Run
from kd2deploy.stages.answers import with_answers
from kd2deploy.stages.executor import IN_ORDER, Executor
from kd2deploy.stages.job import Job, key_of

PARTS: Mapping[str, type] = {"reader": Reader, "metric": Metric, "networks": TaskNetworks}
"""What a task is composed of."""

log = logging.getLogger(__name__)


def prepare(recipe: Recipe) -> tuple[Task, Splits, str]:
    """The task with its labels, the data in splits, and the data in words. Raises DataError, RecipeError."""
    kind, arguments = task_use(recipe.task)
    source, faults = bind("data", recipe.data, "data")
    if source is None or faults:
        raise RecipeError(faults)
    tables = rows_from(source, "data")
    if isinstance(tables, Made):
        message = f"{source.name} makes new rows of a run's own; name it as `data` of a training, under `distill`"
        raise RecipeError([Fault("data", message)])
    splits = split(
        tables,
        kind,
        arguments,
        validation_share=recipe.validation_share,
        limit_train=recipe.limit_train,
        limit_eval=recipe.limit_eval,
        limit_labels=recipe.limit_labels,
        missing=recipe.missing,
        keep=[recipe.answers.id] if recipe.answers is not None and recipe.answers.id is not None else [],
    )
    sizes = len(splits.train), len(splits.validation), len(splits.eval)
    log.info("%s: %d training, %d validation, %d evaluation rows", tables.about, *sizes)
    task = made(kind, arguments if not takes_labels(kind) else {**arguments, "labels": list(splits.labels)})
    classes = splits.labels and not kind.own_target
    if not classes and any(one.gates.max_class_drop is not None for one in recipe.resolved_targets().values()):
        raise RecipeError([Fault("gates.max_class_drop", "holds classes to their recall, and this task has none")])
    return task, splits, tables.about


def takes_labels(kind: type[Task]) -> bool:
    """Whether a task is made with the classes of its rows."""
    return kind.own_classes or not kind.own_target


def made(kind: type[Task], arguments: Mapping[str, Any]) -> Task:
    """The task, whose three parts take what they will be called with. Raises RecipeError."""
    try:
        task = kind(**arguments)
        parts = {"reader": task.reader, "metric": task.metric, "networks": task.networks}
    except ValueError as error:
        raise RecipeError([Fault("task", one_line(error))]) from None
    except (TypeError, AttributeError) as error:
        if kind.__module__.startswith("kd2deploy."):
            raise
        raise RecipeError([Fault("task", f"{kind.__name__} cannot be made: {one_line(error)}")]) from None
    found: list[str] = []
    for name, base in PARTS.items():
        part = parts[name]
        found += refused_calls(type(part), base) if isinstance(part, base) else [misplaced(kind, name, part)]
    if found:
        raise RecipeError([Fault("task", fault) for fault in found])
    return task


def misplaced(kind: type[Task], name: str, part: Any) -> str:
    return f"{kind.__name__}.{name} is {type(part).__name__}, no subclass of kd2deploy.core.{PARTS[name].__name__}"


def rows_from(source: Use, path: str) -> Tables | Made:
    """What a data source returns. Raises RecipeError where that is neither."""
    tables = source()
    if not isinstance(tables, Tables | Made):
        raise RecipeError(
            [Fault(path, f"{source.name} returned {type(tables).__name__}, and a data source returns Tables")]
        )
    return tables


def begun(recipe: Recipe, run: Run, watcher: Watcher, executor: Executor = IN_ORDER) -> Job:
    """What every stage is handed. Raises DataError, RecipeError."""
    task, splits, about = prepare(recipe)
    beside, to_make = others(recipe, task, splits)
    warnings = (*splits.warnings, *(warning for other in beside.values() for warning in other.warnings))
    overlap = max([splits.overlap, *(other.overlap for other in beside.values())])
    splits = replace(splits, warnings=warnings, overlap=overlap)
    job = Job(recipe, run, watcher, splits, task, about, executor=executor, beside=beside, to_make=to_make)
    kind, arguments = task_use(recipe.task)
    return with_answers(job, kind, kind.reads.fields(arguments))


def others(recipe: Recipe, task: Task, splits: Splits) -> tuple[dict[str, Splits], dict[str, Made]]:
    """The splits with the rows of each data set that a training names for itself, and those that a stage is to make.

    Raises DataError, RecipeError.
    """
    kind, arguments = task_use(recipe.task)
    found: dict[str, Splits] = {}
    to_make: dict[str, Made] = {}
    for at, entry in enumerate(recipe.distill):
        if entry.data is None or key_of(entry.data) in (found.keys() | to_make.keys()):
            continue
        path = f"distill[{at}].data"
        source, faults = bind("data", entry.data, path)
        if source is None or faults:
            raise RecipeError(faults)
        tables = rows_from(source, path)
        if isinstance(tables, Made):
            refuse_unmakeable(source.name, tables, recipe, task, path, splits.labels)
            to_make[key_of(entry.data)] = tables
        else:
            found[key_of(entry.data)] = with_training_rows(splits, tables, kind, arguments, recipe.missing)
    return found, to_make


def refuse_unmakeable(name: str, made: Made, recipe: Recipe, task: Task, path: str, labels: Sequence[str]) -> None:
    """RecipeError where a run has not what the rows are to be made of."""
    if recipe.teacher_network is None:
        lacks = "the recipe names none" if recipe.teacher is None else "teacher.answers has no network"
        raise RecipeError([Fault(path, f"{name} asks the teacher, and {lacks}; name one under `teacher`")])
    if made.probabilities and not task.metric.tells_probability:
        kind = "numbers" if not task.own_target else "something of its own"
        message = f"{name} needs answers that have a probability, and {task.name} answers {kind} here; leave it out"
        raise RecipeError([Fault(path, message)])
    if made.of_noise and not (task.reader.extremes() and len(labels) > 1):
        message = f"{name} makes inputs of classes out of noise, and {task.name} reads others here; leave it out"
        raise RecipeError([Fault(path, message)])


def task_use(block: Block) -> tuple[type[Task], dict[str, Any]]:
    """The task's class and the arguments that its `use:` block gives it. Raises RecipeError."""
    use, faults = bind("task", block, "task")
    faults = [fault for fault in faults if not is_labels_missing(fault)]
    if use is None or faults:
        raise RecipeError(faults)
    assert isinstance(use.function, type)
    return use.function, dict(use.arguments)
