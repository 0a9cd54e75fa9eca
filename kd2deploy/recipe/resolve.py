"""Names to functions. The file is the registration: `use: rail_kd` means `rail_kd` in `kd2deploy/methods/rail_kd.py`.

A dotted name is imported, so that users bring their own; it must be what it is used as before it is called. Arguments
are checked against the function's signature and annotations before any work starts.
"""

import difflib
import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd2deploy.core.arguments import bind_arguments as bind_arguments
from kd2deploy.core.arguments import grouped
from kd2deploy.core.arguments import one_line as one_line
from kd2deploy.core.signatures import refused_calls
from kd2deploy.core.trust import HOMES, MARK, Kind, files_of, imported, is_ours, lies_in, mark, named_in_file, trust
from kd2deploy.core.trust import short as short
from kd2deploy.errors import Fault, RecipeError, TrustError
from kd2deploy.recipe.yaml_text import parsed, text_of

if TYPE_CHECKING:
    from kd2deploy.core import Task
    from kd2deploy.core.target import Target

SUPPLIED: Mapping[str, int] = {"converter": 5, "teacher": 1}
"""How many leading arguments the program supplies, by kind; none where it is not said."""
NOT_SOURCES = frozenset({"answers", "prepare", "splits", "tables"})


@dataclass(frozen=True)
class Use:
    """A function and the arguments that the recipe gives it."""

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *supplied: Any) -> Any:
        return self.function(*supplied, **grouped(self.function, self.arguments))

    @property
    def spec(self) -> dict[str, Any]:
        return {"use": self.name, **self.arguments}


def known(kind: Kind) -> list[str]:
    """The names of a kind, found by looking into its folder; nothing is imported but converters' files."""
    if kind != "converter":
        return sorted(set(files_of(kind)) - NOT_SOURCES)
    return sorted(name for file in files_of(kind) for name in converters_in(f"{HOMES[kind]}.{file}"))


def converters_in(module: str) -> list[str]:
    """The converters of one exporter file or folder: public functions named `<target>_from_<source>`."""
    found = vars(importlib.import_module(module)).items()
    return [name for name, value in found if inspect.isfunction(value) and "_from_" in name and lies_in(value, module)]


def locate(kind: Kind, name: str, *, as_data: bool = False) -> Callable[..., Any]:
    """The function or class behind a name. Raises LookupError with a suggestion.

    A dotted name of a person's own is imported, and its module may be named by files from then on. `as_data` is for
    what was not written by the person who runs the program: only what is ours or trusted is looked at.
    """
    if "." in name:
        found = dotted(kind, name, as_data)
    elif kind == "converter":
        home = next((file for file in files_of(kind) if name in converters_in(f"{HOMES[kind]}.{file}")), None)
        if home is None:
            raise LookupError(f"no converter is called {short(name)}; {suggestion(name, known(kind))}")
        found = getattr(importlib.import_module(f"{HOMES[kind]}.{home}"), name)
    else:
        if name not in known(kind):
            near = suggestion(name, known(kind)) if kind in HOMES else "name a function of yours: my_module.ask"
            raise LookupError(f"no {kind} is called {short(name)}; {near}")
        module_of = importlib.import_module(f"{HOMES[kind]}.{name}")
        if kind == "task":
            found = next(kind for kind in vars(module_of).values() if getattr(kind, "name", None) == name)
        else:
            found = getattr(module_of, name)
    return typing.cast(Callable[..., Any], found)


def dotted(kind: Kind, name: str, as_data: bool) -> Any:
    """What a dotted name stands for, once it is known to be of the kind. Raises LookupError."""
    try:
        found = named_in_file(kind, name) if as_data else imported(name)
    except TrustError as error:
        raise LookupError(str(error)) from error
    if why := misfit(kind, found):
        raise LookupError(f"{name} {why}")
    if not as_data and not is_ours(kind, name):
        trust(name.rpartition(".")[0])
    return found


def misfit(kind: Kind, found: Any) -> str:
    """Why a thing cannot be used as a kind, told without calling it; empty where it can."""
    from kd2deploy.core import Artifact, Method, Task
    from kd2deploy.data.tables import Made, Tables

    marked = getattr(found, MARK, None) == kind
    if marked and not callable(found):
        return "is marked, and is not a function"
    if marked and kind != "converter":
        return ""
    if kind == "teacher":
        return "is not said to answer rows, so it was not called: mark it with @kd2deploy.usable_as('teacher')"
    if kind == "task":
        fits = isinstance(found, type) and issubclass(found, Task)
        return task_misfit(found) if fits else "is no task: name a subclass of kd2deploy.core.Task"
    if kind == "converter" and not takes_supplied(found):
        return (
            f"is called with {SUPPLIED[kind]} arguments (source, task, target, folder, samples), which it does not take"
        )
    if marked:
        return ""
    wanted: type = {"data": Tables, "method": Method, "converter": Artifact}[kind]
    fitting = (wanted, Made) if kind == "data" else (wanted,)
    if isinstance(found, type):
        return "" if issubclass(found, fitting) else f"is a class that is no {wanted.__name__}"
    if not inspect.isfunction(found):
        return "is not a function"
    try:
        given = typing.get_type_hints(found).get("return")
    except (NameError, TypeError, AttributeError) as error:
        return f"does not say what it returns ({one_line(error)})"
    if isinstance(given, type) and issubclass(given, fitting):
        return ""
    return (
        f"is not said to be a {kind}, so it was not called: annotate it `-> {wanted.__name__}`, or mark it with "
        f"@kd2deploy.usable_as({kind!r})"
    )


def task_misfit(found: "type[Task]") -> str:
    """Why a user's task cannot be made or called; empty where it can."""
    from kd2deploy.core import Reader, Task

    if inspect.isabstract(found):
        return f"lacks {', '.join(sorted(found.__abstractmethods__))}, which every task has"
    for name in ("name", "reads"):
        if not hasattr(found, name):
            return f"does not say its `{name}`"
    reads: Any = found.reads
    if not (isinstance(reads, type) and issubclass(reads, Reader)):
        return "names as `reads` what is no subclass of kd2deploy.core.Reader"
    taken = inspect.signature(found).parameters.values()
    takes = any(one.name == "labels" or one.kind is one.VAR_KEYWORD for one in taken)
    if (found.own_classes or not found.own_target) and not takes:
        return (
            "takes no `labels`, which every task is made with: take them, or set `own_target = True` where a row's "
            "label is something of the task's own"
        )
    if not found.own_target and inspect.getattr_static(reads, "fields") is inspect.getattr_static(Reader, "fields"):
        return (
            f"reads by {reads.__name__}, which does not say its `fields`: without them labels are not made classes; "
            "name the fields of a row, or set `own_target = True`"
        )
    return "; ".join(refused_calls(found, Task) + refused_calls(reads, Reader))


def takes_supplied(found: Any) -> bool:
    """Whether a converter takes the arguments that the program gives."""
    try:
        inspect.signature(found).bind_partial(*range(SUPPLIED["converter"]))
    except (TypeError, ValueError):
        return False
    return True


Function = typing.TypeVar("Function", bound=Callable[..., Any])


def usable_as(kind: Kind) -> Callable[[Function], Function]:
    """Mark a function that a recipe or target may name as a `data` source, `method` or `converter`, where it is not
    annotated with what it returns, or as a `teacher`, which answers rows.
    """
    if kind not in ("data", "method", "converter", "teacher"):
        raise ValueError(f"a function can be marked as data, method, converter or teacher, got {kind!r}")

    return functools.partial(mark, kind)


def suggestion(given: str, accepted: Iterable[str]) -> str:
    """The nearest accepted name, or all of them."""
    names = list(accepted)
    near = difflib.get_close_matches(str(given), names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"


def bind(
    kind: Kind, spec: str | Mapping[str, Any], path: str, *, as_data: bool = False
) -> tuple[Use | None, list[Fault]]:
    """A `use:` block resolved, its arguments converted to the annotated types; and all its faults.

    `as_data` as in `locate`.
    """
    block = {"use": spec} if isinstance(spec, str) else dict(spec)
    name = block.pop("use", None)
    if not isinstance(name, str):
        return None, [Fault(path, f"needs `use: NAME`; {suggestion('', known(kind))}")]
    try:
        function = locate(kind, name, as_data=as_data)
    except LookupError as error:
        return None, [Fault(f"{path}.use" if not isinstance(spec, str) else path, str(error))]
    arguments, faults = bind_arguments(function, block, name, path, SUPPLIED.get(kind, 0))
    return Use(name, function, arguments), faults


def is_of_others(kind: Kind, block: str | Mapping[str, Any]) -> bool:
    """Whether a `use:` block names code that is not this program's own."""
    name = str(block if isinstance(block, str) else block.get("use"))
    return "." in name and not is_ours(kind, name)


def values_in(file: Path, flag: str) -> Any:
    """The plain values of a YAML file that a flag names. Raises RecipeError."""
    try:
        return parsed(text_of(file))
    except OSError as error:
        raise RecipeError([Fault(flag, f"{file} cannot be read: {error.strerror}")]) from None
    except ValueError as error:
        raise RecipeError([Fault(flag, f"{file} {one_line(error)}")]) from None


def target_files() -> dict[str, Path]:
    """The deployment targets that come with kd2deploy, by name."""
    folder = Path(str(resources.files("kd2deploy.profiles")))
    return {file.stem.replace("_", "-"): file for file in sorted(folder.glob("*.yaml"))}


def load_target(name: str, path: str = "targets", *, as_data: bool = False) -> "Target":
    """A target by name or by file. Raises RecipeError with every fault of the file. `as_data` as in `locate`."""
    files = target_files()
    file = files.get(name.replace("_", "-"), Path(name))
    try:
        text = text_of(file)
    except (FileNotFoundError, IsADirectoryError, ValueError) as error:
        if isinstance(error, ValueError) and "null byte" not in str(error):  # a name with a null byte is one too
            raise RecipeError([Fault(path, f"{short(name)} {one_line(error)}")]) from None
        hint = suggestion(name, files)
        raise RecipeError([Fault(path, f"no target is called {short(name)}; {hint} (or name a YAML file)")]) from None
    except OSError as error:
        raise RecipeError([Fault(path, f"{short(name)} cannot be read: {error.strerror}")]) from None
    return read_target(text, file.name, as_data)


@functools.cache
def read_target(text: str, called: str, as_data: bool = False) -> "Target":
    """The target that a file's text describes. Raises RecipeError with every fault of it."""
    import pydantic

    from kd2deploy.core.target import Target

    try:
        target = pydantic.TypeAdapter(Target).validate_python(parsed(text))
    except pydantic.ValidationError as error:
        raise RecipeError(faults_of(error, f"{called}: ")) from None
    except ValueError as error:
        raise RecipeError([Fault(called, f"is not valid YAML: {one_line(error)}")]) from None
    faults = step_faults(target, f"{called}: ", as_data=as_data)
    if not target.variants:
        faults.append(Fault(f"{called}: variants", "needs at least one variant"))
    if faults:
        raise RecipeError(faults)
    return target


def step_faults(target: "Target", path: str, *, as_data: bool) -> list[Fault]:
    """What is wrong with the steps of a target's variants. `as_data` as in `locate`."""
    return [
        fault
        for variant, plan in target.variants.items()
        for at, step in enumerate(plan.steps)
        for fault in bind("converter", step, f"{path}variants.{variant}.steps[{at}]", as_data=as_data)[1]
    ]


def faults_of(error: Any, prefix: str = "", fields: Mapping[str, Iterable[str]] | None = None) -> list[Fault]:
    """A pydantic error as faults with paths such as `distill[0].epochs`; unknown names get a suggestion."""
    faults = []
    for found in error.errors():
        path = ""
        for key in found["loc"]:
            path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else str(key)
        message = found["msg"].removeprefix("Value error, ")
        if found["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            *around, name = (str(key) for key in found["loc"] if not isinstance(key, int))
            accepted = list((fields or {}).get(around[-1] if around else "", ()))
            message = "is not a field here" + (f"; {suggestion(name, accepted)}" if accepted else "")
        elif found["type"] == "missing":
            message = "is missing"
        elif found["type"] != "value_error":
            message += f", got {short(found['input'])}"
        faults.append(Fault(prefix + path, message))
    return faults
