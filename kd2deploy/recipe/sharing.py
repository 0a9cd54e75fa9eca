"""Trainings that several processes share: which cannot be, and a recipe whose trainings all are."""

from collections.abc import Mapping
from typing import Any

from kd2deploy.errors import Fault, RecipeError
from kd2deploy.recipe.methods import method_uses


def sharing_faults(method: Any, processes: int, first: int, path: str) -> list[Fault]:
    """Why so many processes cannot share a training by this method, where `first` share the recipe's first one."""
    faults = []
    if processes != first:
        message = f"is {processes}, and {first} in distill[0]: all trainings of a student are done by as many"
        faults.append(Fault(path, message))
    if processes > 1:
        faults += [
            Fault(path, f"is {processes}, and {use.name} {reason}; set it to 1, or take another method")
            for use, _ in method_uses(method, path)[0]
            if (reason := use().by_itself)
        ]
    return faults


def with_processes(spec: Mapping[str, Any], processes: int, shard_teacher: bool) -> dict[str, Any]:
    """A recipe's plain values with every training shared by so many processes, and the teacher in shards where that is
    asked for. Raises RecipeError where it trains nothing."""
    found, teacher = dict(spec), spec.get("teacher") or {}
    if not found["distill"] and "fine_tune" not in teacher:
        raise RecipeError([Fault("--nproc", "says how many processes train together, and this recipe trains nothing")])
    changes = {"processes": processes} | ({"shard_teacher": True} if shard_teacher else {})
    found["distill"] = [{**entry, **changes} for entry in found["distill"]]
    if "fine_tune" in teacher:
        found["teacher"] = {**teacher, "fine_tune": {**teacher["fine_tune"], "processes": processes}}
    return found
