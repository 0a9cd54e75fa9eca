"""Whether a class of a user's own takes what the program will give it, told before anything of it is called."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any


def refused_calls(found: type, kind: type) -> list[str]:
    """What the program calls of a `kind` and `found` cannot be called with; one sentence each, empty where all fits."""
    return [
        f"{found.__name__}.{name} is called as {name}{shown(theirs)}, and its own takes {shown(own)}"
        for name, theirs, own in both(found, kind)
        if not takes(own, theirs)
    ]


def both(found: type, kind: type) -> Iterator[tuple[str, Callable[..., Any], Callable[..., Any]]]:
    """Every method of `kind`, and that of `found` where it has one of its own."""
    for name, value in vars(kind).items():
        if name.startswith("_") or not (callable(value) or isinstance(value, classmethod | staticmethod)):
            continue
        theirs, own = getattr(kind, name), getattr(found, name)
        if own is not theirs and inspect.isroutine(theirs) and inspect.isroutine(own):
            yield name, theirs, own


def takes(own: Callable[..., Any], theirs: Callable[..., Any]) -> bool:
    """Whether `own` can be called with every argument of `theirs`, by place or, where it must be, by name."""
    given = list(inspect.signature(theirs).parameters.values())
    by_place = [one for one in given if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    by_name = {one.name: one for one in given if one.kind is one.KEYWORD_ONLY}
    try:
        inspect.signature(own).bind(*by_place, **by_name)
    except TypeError:
        return False
    return True


def shown(function: Callable[..., Any]) -> str:
    """Its arguments by name, `self` left out: `(rows, folder)`."""
    found = inspect.signature(function).parameters.values()
    return f"({', '.join(starred(one) for one in found if one.name != 'self')})"


def starred(one: inspect.Parameter) -> str:
    stars = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
    return stars + one.name
