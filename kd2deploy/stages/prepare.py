"""prepare: load the data, check it, and split off what is chosen by."""

import logging
from typing import Any

from kd2deploy.core import Task
from kd2deploy.data.prepare import Splits
from kd2deploy.data.prepare import prepare as split
from kd2deploy.data.tables import Tables
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.recipe import Block, Recipe, is_labels_missing
from kd2deploy.recipe.resolve import bind, one_line

log = logging.getLogger(__name__)


def prepare(recipe: Recipe) -> tuple[Task, Splits, str]:
    """The task with its labels, the data in splits, and the data in words. Raises DataError, RecipeError."""
    kind, arguments = task_use(recipe.task)
    source, faults = bind("data", recipe.data, "data")
    if source is None or faults:
        raise RecipeError(faults)
    tables: Tables = source()
    splits = split(
        tables,
        kind,
        arguments,
        validation_share=recipe.validation_share,
        limit_train=recipe.limit_train,
        limit_eval=recipe.limit_eval,
        limit_labels=recipe.limit_labels,
        missing=recipe.missing,
    )
    sizes = len(splits.train), len(splits.validation), len(splits.eval)
    log.info("%s: %d training, %d validation, %d evaluation rows", tables.about, *sizes)
    try:
        task = kind(**(arguments if kind.own_target else {**arguments, "labels": list(splits.labels)}))
    except ValueError as error:
        raise RecipeError([Fault("task", one_line(error))]) from None
    if not splits.labels and any(one.gates.max_class_drop is not None for one in recipe.resolved_targets().values()):
        raise RecipeError([Fault("gates.max_class_drop", "holds classes to their recall, and this task has none")])
    return task, splits, tables.about


def task_use(block: Block) -> tuple[type[Task], dict[str, Any]]:
    """The task's class and the arguments that its `use:` block gives it. Raises RecipeError."""
    use, faults = bind("task", block, "task")
    faults = [fault for fault in faults if not is_labels_missing(fault)]
    if use is None or faults:
        raise RecipeError(faults)
    assert isinstance(use.function, type)
    return use.function, dict(use.arguments)
