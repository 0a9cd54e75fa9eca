"""The methods of one training: a block or several with their weights, built into one method."""

from collections.abc import Mapping
from typing import Any

from kd2deploy.core.parts import Method, Part, Term, View, Weight, compose
from kd2deploy.core.signatures import refused_calls
from kd2deploy.core.step import Progress
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.recipe.resolve import Use, bind, one_line, short


def method_uses(method: Any, path: str, as_data: bool = False) -> tuple[list[tuple[Use, Weight]], list[Fault]]:
    """The methods of one training with their weights, and the faults found on the way."""
    blocks = method if isinstance(method, list) else [method]
    found: list[tuple[Use, Weight]] = []
    faults: list[Fault] = []
    if not blocks:
        faults.append(Fault(path, "names no method"))
    for at, block in enumerate(blocks):
        here = f"{path}[{at}]" if isinstance(method, list) else path
        if not isinstance(block, str | Mapping):
            faults.append(Fault(here, f"is a name or a mapping with `use`, got {short(block)}"))
            continue
        weight: Weight = 1.0
        if isinstance(block, Mapping) and "weight" in block and isinstance(method, list):
            try:
                weight = weight_of(block["weight"])
            except ValueError as error:
                faults.append(Fault(f"{here}.weight", str(error)))
            block = {key: value for key, value in block.items() if key != "weight"}
        use, new = bind("method", block, here, as_data=as_data)
        faults += new
        if use is not None:
            found.append((use, weight))
    return found, faults


def weight_of(given: Any) -> Weight:
    """A method's weight: a number, or `{start: 0, end: 1, until: 0.5}`, linear until that share of the training."""
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < float("inf"):
        return float(given)
    if isinstance(given, Mapping) and set(given) <= {"start", "end", "until"} and {"start", "end"} <= set(given):
        try:
            start, end, until = float(given["start"]), float(given["end"]), float(given.get("until", 1.0))
        except (TypeError, ValueError):
            raise ValueError(f"start, end and until must be numbers, got {given!r}") from None
        if not (0 <= start < float("inf") and 0 <= end < float("inf") and 0 < until <= 1):
            raise ValueError(f"start and end must be at least 0 and until in (0, 1], got {given!r}")

        def scheduled(progress: Progress) -> float:
            return start + (end - start) * min(1.0, progress.done / until)

        return scheduled
    raise ValueError(f"must be a number of at least 0, or {{start: 0, end: 1, until: 0.5}}; got {given!r}")


def build_method(method: Any, path: str = "method") -> Method:
    """The method, or the sum of several, that a training names. Raises RecipeError."""
    uses, faults = method_uses(method, path)
    if faults:
        raise RecipeError(faults)
    built: dict[str, tuple[Method, Weight]] = {}
    for use, weight in uses:
        try:
            name = use.name.rpartition(".")[2]
            built[name if name not in built else f"{name}{len(built)}"] = (sound(use()), weight)
        except (ValueError, TypeError) as error:
            faults.append(Fault(path, f"{use.name}: {one_line(error)}"))
    if faults:
        raise RecipeError(faults)
    if len(built) == 1:
        only, weight = next(iter(built.values()))
        if weight == 1.0:
            return only
    try:
        return compose(built)
    except ValueError as error:
        raise RecipeError([Fault(path, one_line(error))]) from None


def method_name(method: object) -> str:
    """What a training's `method` is called."""
    if isinstance(method, Mapping):
        return str(method["use"])
    if isinstance(method, list):
        return " + ".join(method_name(one) for one in method)
    return str(method)


def sound(method: Any) -> Method:
    """What a builder returned. Raises TypeError where it is no method, or a part cannot be called as it will be."""
    if not isinstance(method, Method):
        raise TypeError(f"returned {type(method).__name__}, and a method's builder returns kd2deploy.core.Method")
    found = [fault for part in method.parts for fault in refused_calls(type(part), kind_of(part))]
    found += [fault for part in method.parts for fault in refused_calls(type(part), Part)]
    if found:
        raise TypeError("; ".join(dict.fromkeys(found)))
    return method


def kind_of(part: Part) -> type[Part]:
    return Term if isinstance(part, Term) else View
