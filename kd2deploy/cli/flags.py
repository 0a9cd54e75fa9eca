"""The command line's flags as a recipe, and the commented recipe that `init` writes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kd2deploy.core import Task
from kd2deploy.data.files import column_names, read
from kd2deploy.errors import DataError, Fault, RecipeError
from kd2deploy.recipe import Recipe
from kd2deploy.resolve import known, locate, suggestion

EMPTY: Mapping[str, str | None] = MappingProxyType({})
TASK = "text_classification"
"""What is to be done where nobody says."""
ROWS = 1000
"""Rows whose labels are looked at."""


def recipe_from(path: Path | None, flags: Mapping[str, Any]) -> tuple[Recipe, str]:
    """The recipe that a file or the flags describe, and a name for its run. Raises RecipeError, DataError."""
    needed = ("teacher", "train", "eval")
    if path is not None:
        own = {name: flags[name] for name in (*needed, "task", "method", "epochs")} | dict(flags["columns"])
        if set_only(own):
            message = f"stands in {path} already; give a recipe or flags, not both"
            raise RecipeError([Fault(f"--{name.replace('_', '-')}", message) for name in set_only(own)])
        return with_gates(Recipe.read(path), flags), path.stem
    missing = [f"--{name}" for name in needed if flags[name] is None]
    if missing:
        raise RecipeError([Fault(name, "is needed where no recipe is given") for name in missing])
    task, columns = described(flags["train"], flags["task"], flags["columns"])
    training = {"method": "logit", "epochs": 5.0, **set_only({name: flags[name] for name in ("method", "epochs")})}
    found: dict[str, Any] = {
        "task": task,
        "data": {"use": "files", "train": flags["train"], "eval": flags["eval"], **columns},
        "teacher": {"from": flags["teacher"]},
        "student": {"plan": {}},
        "distill": [{**training, "learning_rate": 2e-4, "precision": "auto"}],
        "targets": flags["targets"] or ["cpu"],
        "seeds": flags["seeds"] or [0],
        "gates": set_only(flags["gates"]),
    }
    return Recipe.parse(found), Path(flags["train"]).stem


def described(train: str, task: str | None, columns: Mapping[str, str | None]) -> tuple[dict[str, Any], dict[str, str]]:
    """The task's block, and the column of each of its fields, for a file or a folder of pictures.

    A task that nobody named is the first whose fields the file has. Labels that are numbers with a fraction ask for a
    regression. Raises RecipeError, DataError.
    """
    name = task or fitting(Path(train), columns)
    found = guessed(task_called(name), Path(train), columns)
    block: dict[str, Any] = {"use": name}
    if found.get("text_pair"):
        block["pair"] = True
    if fractional(Path(train), found.get("label", "label")):
        block["labels"] = []
    return block, found


def fitting(train: Path, columns: Mapping[str, str | None]) -> str:
    """The task that a folder of pictures is for, or the usual one."""
    if not train.is_dir():
        return TASK
    held = set(read(train, [])[0])
    names = [name for name in (TASK, *known("task")) if set(task_called(name).fields({})) <= held]
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
    if not task.columns:
        return found
    names = column_names(file)
    for key, usual in task.columns.items():
        if key not in found:
            near = next((name for name in usual if name in names), None)
            if near is not None:
                found[key] = near
            elif key in (*task.fields({}), *also):
                raise DataError(
                    f"{file} has no column that is plainly the {key}; name it with --{key}: {', '.join(names)}"
                )
    for key, name in found.items():
        if name not in names:
            raise DataError(f"{file} has no column {name!r} (--{key.replace('_', '-')}); {suggestion(name, names)}")
    return found


def set_only(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def written_recipe(
    teacher: str, train: str, eval: str, task: str | None = None, columns: Mapping[str, str | None] = EMPTY
) -> str:
    """A recipe with every common choice in it, and what the others would be. Raises DataError."""
    block, found = described(train, task, columns)
    source = {"use": "files", "train": train, "eval": eval, **found}
    return f"""# kd2deploy compress {{this file}}        (--dry-run checks it and prints the plan)
task: {flow(block)}           # metric: accuracy by default; labels: [] where the label is a number to be predicted
data: {flow(source)}
teacher:
  from: {quoted(teacher)}               # a folder, a hub id where there is a network, or package:MODULE
  # fine_tune: {{epochs: 3, learning_rate: 2.0e-5, batch: 32}}     # for a teacher that is not trained on this task yet
student:
  plan: {{}}                            # time untrained candidates, train the largest that clears the speed gate
  # shrink: {{layers: 4, hidden: 256}}  # or say the shape
  # from: DIR                         # or start from a checkpoint
distill:
  - method: {{use: logit, temperature: 4.0, alpha: 0.5}}           # `kd2deploy methods` lists them all
    epochs: 5
    learning_rate: 2.0e-4
    batch: 32
    precision: auto                   # bf16 where the machine computes in it, else fp32
control: true                         # the same student without a teacher: what did distillation bring?
seeds: [0]                            # several give a spread
targets: [cpu]                        # `kd2deploy targets` lists them; or name a YAML file
gates: {{max_drop: 0.01, min_speedup: 4.0}}                      # also max_class_drop, p50_ms, p99_ms, max_size_mb
"""


def flow(block: Mapping[str, Any]) -> str:
    """A block in one line of YAML; a task without arguments is its name."""
    if set(block) == {"use"}:
        return str(block["use"])
    return "{" + ", ".join(f"{key}: {quoted(value)}" for key, value in block.items()) + "}"


def quoted(value: Any) -> str:
    """As YAML writes it."""
    import yaml

    return str(yaml.safe_dump(value, width=10_000, default_flow_style=True).strip().removesuffix("...").strip())
