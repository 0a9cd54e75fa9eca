"""Arguments as a file gives them, checked against a function's signature and annotations before it is called.

A function with many arguments takes them as one value, the dataclass that its parameter `options` is annotated with; a
file gives the fields of that dataclass as if they were the function's own arguments.
"""

import dataclasses
import difflib
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kd2deploy.core.trust import short
from kd2deploy.errors import Fault

OPTIONS = "options"
"""The parameter whose dataclass is given field by field."""
REST = "**"
"""What stands in `taken_by` for any further argument."""


@dataclass(frozen=True)
class Argument:
    """One argument as a file may give it."""

    hint: Any
    default: Any = inspect.Parameter.empty
    """`inspect.Parameter.empty` where it must be given."""
    grouped: bool = False
    """Whether it is a field of the function's options."""

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


def taken_by(function: Callable[..., Any], supplied: int) -> dict[str, Argument]:
    """What a function takes by name, its options field by field; the first `supplied` are the program's to give.

    Raises ValueError, TypeError and NameError for a function that does not say it.
    """
    parameters = list(inspect.signature(function).parameters.values())[supplied:]
    hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    found: dict[str, Argument] = {}
    for one in parameters:
        hint = hints.get(one.name, Any)
        if one.kind is one.VAR_KEYWORD:
            found[REST] = Argument(hint, None)
        elif one.name == OPTIONS and dataclasses.is_dataclass(hint):
            found |= _fields(typing.cast(type, hint))
        elif one.kind is not one.VAR_POSITIONAL:
            found[one.name] = Argument(hint, one.default)
    return found


def _fields(options: type) -> dict[str, Argument]:
    hints = typing.get_type_hints(options)
    return {
        field.name: Argument(
            hints[field.name],
            _default_of(field),
            grouped=True,
        )
        for field in dataclasses.fields(options)
    }


def _default_of(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default


def grouped(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the function is called with them: those of its options made one value."""
    hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    options = hints.get(OPTIONS)
    if not dataclasses.is_dataclass(options) or OPTIONS in arguments:
        return dict(arguments)
    names = {field.name for field in dataclasses.fields(options)} & arguments.keys()
    rest = {name: value for name, value in arguments.items() if name not in names}
    made = typing.cast(type, options)(**{name: arguments[name] for name in names})
    return {**rest, OPTIONS: made} if names else rest


def bind_arguments(
    function: Callable[..., Any], block: Mapping[str, Any], name: str, path: str, supplied: int
) -> tuple[dict[str, Any], list[Fault]]:
    """The arguments in their annotated types, and all faults; the first `supplied` ones are the program's to give.

    Those of its options stand beside the others: `grouped` makes one value of them.
    """
    try:
        taken = taken_by(function, supplied)
    except (ValueError, TypeError, NameError) as error:
        return {}, [Fault(path, f"{name} does not say what it takes ({one_line(error)}); wrap it in a function")]
    rest = taken.pop(REST, None)
    arguments: dict[str, Any] = {}
    faults = []
    for key, value in block.items():
        where = f"{path}.{key}"
        if not isinstance(key, str) or (key not in taken and rest is None):
            accepted = f"{name} takes {', '.join(taken)}" if taken else f"{name} takes no arguments"
            near = difflib.get_close_matches(str(key), taken, n=1)
            faults.append(Fault(where, accepted + (f"; did you mean {near[0]!r}?" if near else "")))
            continue
        import pydantic

        try:
            hint = taken.get(key, rest or Argument(Any)).hint
            arguments[key] = pydantic.TypeAdapter(
                hint, config=pydantic.ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
            ).validate_python(value)
        except pydantic.ValidationError as error:
            faults.append(Fault(where, error.errors()[0]["msg"] + f", got {short(value)}"))
        except pydantic.errors.PydanticUserError:
            arguments[key] = value  # an annotation that pydantic has no schema for, dataclasses with their own config
    faults += [
        Fault(f"{path}.{key}", f"{name} needs it") for key, one in taken.items() if one.required and key not in block
    ]
    return arguments, faults


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
