"""Whose code may run because a file names it.

A bundle, a pack and a run's folder are data: a name in them is looked up among this program's own files. Code of others
runs only where the person who runs the program has named it, in a recipe or a target of their own or by `--trust`.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from kd2deploy.errors import TrustError

Kind = Literal["task", "data", "method", "converter", "session", "teacher"]
HOMES: dict[Kind, str] = {
    "task": "kd2deploy.tasks",
    "data": "kd2deploy.data",
    "method": "kd2deploy.methods",
    "converter": "kd2deploy.exporters",
    "session": "kd2deploy.exporters",
}
"""Where this program's own of a kind lie. Of `teacher`, a function that answers rows, it has none."""
MARK = "__kd2deploy_kind__"
"""What a function is marked with that says which kind it is, for those whose annotations do not tell."""
Function = TypeVar("Function", bound=Callable[..., Any])
_named: set[str] = set()


def trust(*names: str) -> None:
    """Let files name these too, from now on and in this process: `my_module.MySession`, or `my_module` with all in it.

    Raises TrustError for what is no dotted name, and for Python's own modules: nothing of them is a part of this.
    """
    for name in names:
        if why := refusal(name):
            raise TrustError(f"{name!r} cannot be trusted: {why}")
    _named.update(names)


def trusted() -> tuple[str, ...]:
    """What was named so far; a process that works for this one is told."""
    return tuple(sorted(_named))


def refusal(name: str) -> str:
    """Why a name cannot be imported as code of others; empty where it can."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return "it is not a dotted name such as my_package.my_module.my_function"
    if parts[0] in sys.stdlib_module_names:
        return f"{parts[0]} is Python's own; name a function or class of yours"
    return ""


def mark(kind: Kind, function: Function) -> Function:
    """The function itself, which can be used as a `kind` from now on, whatever it is annotated with."""
    setattr(function, MARK, kind)
    return function


def is_ours(kind: Kind, name: str) -> bool:
    """Whether a dotted name stands in one of this program's own files of the kind."""
    home, _, file = name.rpartition(".")[0].rpartition(".")
    return home == HOMES.get(kind) and file in files_of(kind)


def files_of(kind: Kind) -> list[str]:
    """The program's own files of a kind, by name; nothing in them is imported."""
    if kind not in HOMES:
        return []
    package = importlib.import_module(HOMES[kind])
    return [module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")]


def is_trusted(name: str) -> bool:
    """Whether a person has named it, or the module that it lies in."""
    return not _named.isdisjoint((name, name.rpartition(".")[0]))


def named_in_file(kind: Kind, name: object) -> Any:
    """What a dotted name in a file stands for, imported where it is ours or trusted. Raises TrustError."""
    if not isinstance(name, str) or refusal(name):
        raise TrustError(f"{short(name)} is no {kind}: {refusal(name) if isinstance(name, str) else 'it is no name'}")
    if not is_ours(kind, name) and not is_trusted(name):
        raise TrustError(
            f"a file names the {kind} {short(name)}, which is code of others and was not run; where you know what it "
            f"does, allow it with --trust {short(name).strip(chr(39))}"
        )
    found = imported(name)
    if is_ours(kind, name) and not lies_in(found, name.rpartition(".")[0]):
        raise TrustError(f"{name} is no {kind} of kd2deploy")
    return found


def lies_in(found: Any, module: str) -> bool:
    """Whether a function or class was written in a module, or in a file of the folder that the module is."""
    home = str(getattr(found, "__module__", "") or "")
    return home == module or home.startswith(f"{module}.")


def imported(name: str) -> Any:
    """What a dotted name stands for. Raises TrustError."""
    module, _, attribute = name.rpartition(".")
    if why := refusal(name):
        raise TrustError(f"{short(name)}: {why}")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a user's own module may raise anything while it is imported
        said = " ".join(str(error).split())
        raise TrustError(f"{name} cannot be imported ({type(error).__name__}: {said})") from error
    home = str(getattr(found, "__module__", "") or "").split(".")[0]
    if home in sys.stdlib_module_names and home != "__main__":
        raise TrustError(f"{name} is {home}'s, which is Python's own; name a function or class of yours")
    return found


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
