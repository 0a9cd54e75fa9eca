"""Arguments as a file gives them, checked against a function's signature and annotations before it is called."""

import difflib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from kd2deploy.core.trust import short
from kd2deploy.errors import Fault


def bind_arguments(
    function: Callable[..., Any], block: Mapping[str, Any], name: str, path: str, supplied: int
) -> tuple[dict[str, Any], list[Fault]]:
    """The arguments in their annotated types, and all faults; the first `supplied` ones are the program's to give."""
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
        import pydantic

        try:
            hint = hints.get(key if key in takes else rest or "", Any)
            arguments[key] = pydantic.TypeAdapter(
                hint, config=pydantic.ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
            ).validate_python(value)
        except pydantic.ValidationError as error:
            faults.append(Fault(where, error.errors()[0]["msg"] + f", got {short(value)}"))
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


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
