"""prepare: load the data, check it, and split off what is chosen by."""

from typing import Any

from kd2deploy.core import Task, build_task
from kd2deploy.data.prepare import Splits
from kd2deploy.data.prepare import prepare as split
from kd2deploy.data.tables import Tables
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.recipe import Block, Recipe, is_labels_missing
from kd2deploy.resolve import bind, one_line


def prepare(recipe: Recipe) -> tuple[Task, Splits, str]:
    """The task with its labels, the data in splits, and the data in words. Raises DataError, RecipeError."""
    spec = task_spec(recipe.task)
    source, faults = bind("data", recipe.data, "data")
    if source is None or faults:
        raise RecipeError(faults)
    tables: Tables = source()
    splits = split(
        tables,
        spec["use"],
        labels=spec.get("labels"),
        pair=bool(spec.get("pair", False)),
        validation_share=recipe.validation_share,
        limit_train=recipe.limit_train,
        limit_eval=recipe.limit_eval,
        limit_labels=recipe.limit_labels,
        missing=recipe.missing,
    )
    try:
        task = build_task({**spec, "labels": list(splits.labels)})
    except ValueError as error:
        raise RecipeError([Fault("task", one_line(error))]) from None
    return task, splits, tables.about


def task_spec(block: Block) -> dict[str, Any]:
    """The task's `use:` block as plain values. Raises RecipeError."""
    use, faults = bind("task", block, "task")
    faults = [fault for fault in faults if not is_labels_missing(fault)]
    if use is None or faults:
        raise RecipeError(faults)
    return {"use": use.name, **use.arguments}
