"""A recipe out of flags: what the files themselves say is guessed."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kd2deploy.core import Task
from kd2deploy.data.files import column_names, places_of, read
from kd2deploy.errors import DataError, Fault, RecipeError
from kd2deploy.recipe import Recipe
from kd2deploy.recipe.resolve import known, locate, suggestion

EMPTY: Mapping[str, str | None] = MappingProxyType({})


TASK = "text_classification"
"""What is to be done where nobody says."""


OPTIONAL = ("unlabelled", "task", "method", "epochs")
"""What may be given as flags beside what must be."""


ROWS = 1000
"""Rows whose labels are looked at."""


def recipe_from(path: Path | None, flags: Mapping[str, Any]) -> tuple[Recipe, str]:
    """The recipe that a file or the flags describe, and a name for its run. Raises RecipeError, DataError."""
    needed = ("teacher", "train", "eval")
    if path is not None:
        own = {name: flags.get(name) for name in (*needed, *OPTIONAL)} | dict(flags["columns"])
        if set_only(own):
            message = f"stands in {path} already; give a recipe or flags, not both"
            raise RecipeError([Fault(f"--{name.replace('_', '-')}", message) for name in set_only(own)])
        return with_gates(Recipe.read(path), flags), path.stem
    missing = [f"--{name}" for name in needed if flags[name] is None]
    if missing:
        raise RecipeError([Fault(name, "is needed where no recipe is given") for name in missing])
    task, columns = described(flags["train"], flags["task"], flags["columns"])
    files = given_files(**{name: flags.get(name) for name in ("train", "eval", "unlabelled")})
    training = {
        "method": usual_method(task),
        "epochs": 5.0,
        **set_only({name: flags[name] for name in ("method", "epochs")}),
    }
    found: dict[str, Any] = {
        "task": task,
        "data": {"use": "files", **files, **columns},
        "teacher": {"from": flags["teacher"]},
        "student": {"plan": {}},
        "distill": [{**training, "learning_rate": 2e-4, "precision": "auto"}],
        "targets": flags["targets"] or ["cpu"],
        "seeds": flags["seeds"] or [0],
        "gates": set_only(flags["gates"]),
    }
    return Recipe.parse(found), Path(flags["train"]).stem


def usual_method(task: Mapping[str, Any]) -> str:
    """What did best where a row has one of several classes (docs/methods.md); elsewhere what compares any answer."""
    kind = task_called(task["use"])
    one_class = not (kind.own_target or kind.several_labels or task.get("labels") == [])
    return "dist" if one_class else "logit"


def described(train: str, task: str | None, columns: Mapping[str, str | None]) -> tuple[dict[str, Any], dict[str, str]]:
    """The task's block, and the column of each of its fields, for a file or a folder of pictures.

    A task that nobody named is the first whose fields the file has. Labels that are numbers with a fraction ask for a
    regression. Raises RecipeError, DataError.
    """
    require_there(train, "--train")
    first = places_of(train)[0]
    name = task or fitting(first, columns)
    kind = task_called(name)
    found = guessed(kind, first, columns)
    block: dict[str, Any] = {"use": name, **kind.reads.implied(found)}
    if fractional(first, found.get("label", "label")):
        block["labels"] = []
    return block, found


def given_files(**named: str | None) -> dict[str, str]:
    """The files that were given, by split. Raises RecipeError with the flag of one that is not there."""
    found = set_only(named)
    for split, path in found.items():
        require_there(path, f"--{split}")
    return found


def require_there(path: str, flag: str) -> None:
    """Nothing, or RecipeError with the flag where no such file or folder is. Raises DataError for a pattern or an
    address that stands for none."""
    if not places_of(path)[0].exists():
        raise RecipeError([Fault(flag, f"{path} does not exist (looked for in {Path.cwd()}); check the path")])


def fitting(train: Path, columns: Mapping[str, str | None]) -> str:
    """The task that a folder of pictures is for, or the usual one."""
    if not train.is_dir():
        return TASK
    held = set(read(train, [])[0])
    names = [name for name in (TASK, *known("task")) if set(task_called(name).reads.fields({})) <= held]
    return names[0] if names else TASK


def fractional(train: Path, label: str) -> bool:
    """Whether every label of the first rows is a number, and one has a fraction."""
    rows = [] if train.is_dir() else read(train, [])[:ROWS]
    try:
        values = [float(row[label]) for row in rows if row.get(label) not in (None, "")]
    except (TypeError, ValueError):
        return False
    return any(value != int(value) for value in values if math.isfinite(value))


def with_gates(recipe: Recipe, flags: Mapping[str, Any]) -> Recipe:
    """Limits and targets that are given as flags replace the recipe's."""
    spec = recipe.spec()
    spec["gates"] = {**spec.get("gates", {}), **set_only(flags["gates"])}
    if flags["targets"]:
        spec["targets"] = flags["targets"]
    if flags["seeds"]:
        spec["seeds"] = flags["seeds"]
    return Recipe.parse(spec)


def task_called(name: str) -> type[Task]:
    """The task's class. Raises RecipeError."""
    try:
        found = locate("task", name)
    except LookupError as error:
        raise RecipeError([Fault("--task", str(error))]) from None
    assert isinstance(found, type)
    return found


def guessed(
    task: type[Task], file: Path, columns: Mapping[str, str | None], also: Sequence[str] = ("label",)
) -> dict[str, str]:
    """The columns that were named, and the usual names for those that were not. Raises DataError.

    What the task reads and what is needed `also` must be found.
    """
    found = {key: value for key, value in columns.items() if value}
    if not task.reads.columns:
        return found
    names = column_names(file)
    for key, usual in task.reads.columns.items():
        if key not in found:
            near = next((name for name in usual if name in names), None)
            if near is not None:
                found[key] = near
            elif key in (*task.reads.fields({}), *also):
                raise DataError(
                    f"{file} has no column that is plainly the {key}; name it with --{key}: {', '.join(names)}"
                )
    for key, name in found.items():
        if name not in names:
            raise DataError(f"{file} has no column {name!r} (--{key.replace('_', '-')}); {suggestion(name, names)}")
    return found


def set_only(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
