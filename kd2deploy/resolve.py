"""Names to functions. The file is the registration: `use: rail_kd` means `rail_kd` in `kd2deploy/methods/rail_kd.py`.

A dotted name is imported as it stands, so that users bring their own. Arguments are checked against the function's
signature and annotations before any work starts.
"""

import difflib
import functools
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd2deploy.errors import Fault, RecipeError

if TYPE_CHECKING:
    from kd2deploy.core.target import Target

# What each kind of name stands for: the package that is searched, and how many leading arguments the program supplies.
KINDS: Mapping[str, tuple[str, int]] = {
    "task": ("kd2deploy.tasks", 0),
    "data": ("kd2deploy.data", 0),
    "method": ("kd2deploy.methods", 0),
    "converter": ("kd2deploy.exporters", 5),
}
NOT_SOURCES = frozenset({"prepare", "tables"})


@dataclass(frozen=True)
class Use:
    """A function and the arguments that the recipe gives it."""

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *supplied: Any) -> Any:
        return self.function(*supplied, **self.arguments)

    @property
    def spec(self) -> dict[str, Any]:
        return {"use": self.name, **self.arguments}


def known(kind: str) -> list[str]:
    """The names of a kind, found by looking into its folder; nothing is imported but converters' files."""
    package = importlib.import_module(KINDS[kind][0])
    modules = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")]
    if kind != "converter":
        return sorted(set(modules) - NOT_SOURCES)
    return sorted(name for module in modules for name in converters_in(f"{package.__name__}.{module}"))


def converters_in(module: str) -> list[str]:
    """The converters of one exporter file: public functions named `<target>_from_<source>`."""
    found = vars(importlib.import_module(module)).items()
    return [
        name for name, value in found if inspect.isfunction(value) and "_from_" in name and value.__module__ == module
    ]


def locate(kind: str, name: str) -> Callable[..., Any]:
    """The function or class behind a name. Raises LookupError with a suggestion."""
    package, _ = KINDS[kind]
    if "." in name:
        found = imported(name)
    elif kind == "converter":
        homes = [module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)]
        home = next((home for home in homes if name in converters_in(f"{package}.{home}")), None)
        if home is None:
            raise LookupError(f"no converter is called {name!r}; {suggestion(name, known(kind))}")
        found = getattr(importlib.import_module(f"{package}.{home}"), name)
    else:
        if name not in known(kind):
            raise LookupError(f"no {kind} is called {name!r}; {suggestion(name, known(kind))}")
        module_of = importlib.import_module(f"{package}.{name}")
        if kind == "task":
            found = next(kind for kind in vars(module_of).values() if getattr(kind, "name", None) == name)
        else:
            found = getattr(module_of, name)
    if not callable(found):
        raise LookupError(f"{name} is not a function")
    return typing.cast(Callable[..., Any], found)


def imported(name: str) -> Any:
    """What a dotted name stands for. Raises LookupError."""
    module, _, attribute = name.rpartition(".")
    if not all(part.isidentifier() for part in name.split(".")):
        raise LookupError(f"{name!r} is not a dotted name such as my_package.my_module.my_function")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a user's own module may raise anything while it is imported
        raise LookupError(f"{name} cannot be imported ({type(error).__name__}: {one_line(error)})") from error


def suggestion(given: str, accepted: Iterable[str]) -> str:
    """The nearest accepted name, or all of them."""
    names = list(accepted)
    near = difflib.get_close_matches(str(given), names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"


def bind(kind: str, spec: str | Mapping[str, Any], path: str) -> tuple[Use | None, list[Fault]]:
    """A `use:` block resolved, its arguments converted to the annotated types; and all its faults."""
    block = {"use": spec} if isinstance(spec, str) else dict(spec)
    name = block.pop("use", None)
    if not isinstance(name, str):
        return None, [Fault(path, f"needs `use: NAME`; {suggestion('', known(kind))}")]
    try:
        function = locate(kind, name)
    except LookupError as error:
        return None, [Fault(f"{path}.use" if not isinstance(spec, str) else path, str(error))]
    arguments, faults = bind_arguments(function, block, name, path, KINDS[kind][1])
    return Use(name, function, arguments), faults


def bind_arguments(
    function: Callable[..., Any], block: Mapping[str, Any], name: str, path: str, supplied: int
) -> tuple[dict[str, Any], list[Fault]]:
    import pydantic

    try:
        parameters = dict(list(inspect.signature(function).parameters.items())[supplied:])
        hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except (ValueError, TypeError, NameError) as error:
        return {}, [Fault(path, f"{name} does not say what it takes ({one_line(error)}); wrap it in a function")]
    rest = next((key for key, parameter in parameters.items() if parameter.kind is parameter.VAR_KEYWORD), None)
    takes = [key for key, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD]
    arguments: dict[str, Any] = {}
    faults = []
    for key, value in block.items():
        where = f"{path}.{key}"
        if not isinstance(key, str) or (key not in takes and rest is None):
            accepted = f"{name} takes {', '.join(takes)}" if takes else f"{name} takes no arguments"
            near = difflib.get_close_matches(str(key), takes, n=1)
            faults.append(Fault(where, accepted + (f"; did you mean {near[0]!r}?" if near else "")))
            continue
        try:
            hint = hints.get(key if key in takes else rest or "", Any)
            arguments[key] = pydantic.TypeAdapter(
                hint, config=pydantic.ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
            ).validate_python(value)
        except pydantic.ValidationError as error:
            faults.append(Fault(where, error.errors()[0]["msg"] + f", got {value!r}"))
        except pydantic.errors.PydanticUserError:
            arguments[key] = value  # an annotation that pydantic has no schema for, dataclasses with their own config
    faults += [
        Fault(f"{path}.{key}", f"{name} needs it")
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and key not in block
    ]
    return arguments, faults


def target_files() -> dict[str, Path]:
    """The deployment targets that come with kd2deploy, by name."""
    folder = Path(str(resources.files("kd2deploy.profiles")))
    return {file.stem.replace("_", "-"): file for file in sorted(folder.glob("*.yaml"))}


def load_target(name: str, path: str = "targets") -> "Target":
    """A target by name or by file. Raises RecipeError with every fault of the file."""
    files = target_files()
    file = files.get(name.replace("_", "-"), Path(name))
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError([Fault(path, f"{name} is not valid YAML: {one_line(error)}")]) from None
    except (FileNotFoundError, IsADirectoryError, ValueError):  # a name with a null byte is a ValueError
        hint = suggestion(name, files)
        raise RecipeError([Fault(path, f"no target is called {short(name)}; {hint} (or name a YAML file)")]) from None
    except OSError as error:
        raise RecipeError([Fault(path, f"{short(name)} cannot be read: {error.strerror}")]) from None
    return read_target(text, file.name)


@functools.cache
def read_target(text: str, called: str) -> "Target":
    """The target that a file's text describes. Raises RecipeError with every fault of it."""
    import pydantic
    import yaml

    from kd2deploy.core.target import Target

    try:
        target = pydantic.TypeAdapter(Target).validate_python(yaml.safe_load(text))
    except pydantic.ValidationError as error:
        raise RecipeError(faults_of(error, f"{called}: ")) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError([Fault(called, f"is not valid YAML: {one_line(error)}")]) from None
    faults = [
        fault
        for variant, plan in target.variants.items()
        for at, step in enumerate(plan.steps)
        for fault in bind("converter", step, f"{called}: variants.{variant}.steps[{at}]")[1]
    ]
    if not target.variants:
        faults.append(Fault(f"{called}: variants", "needs at least one variant"))
    if faults:
        raise RecipeError(faults)
    return target


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


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())
