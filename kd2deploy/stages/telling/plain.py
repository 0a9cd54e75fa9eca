"""Values as text for a person, as the report's tables of names and values hold them."""

from collections.abc import Mapping
from typing import Any

from kd2deploy.report import Plain


def plain(value: Any) -> Plain:
    """A value as text for a person: of a list the first few, of a mapping each name with its value, at any depth."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {worded(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        known = [worded(inner) for inner in value]
        return ", ".join(known) if len(known) <= 6 else f"{len(known)}: {', '.join(known[:3])}, ..."
    return str(value)


def worded(value: Any) -> str:
    """`plain` inside of another value: a list of sizes is told as `1 to 16 to 64`."""
    if isinstance(value, list | tuple):
        return " to ".join(worded(inner) for inner in value)
    return str(plain(value))


def flat(found: Mapping[str, object]) -> dict[str, Plain]:
    """What holds something, each value as text."""
    return {key: plain(value) for key, value in found.items() if value not in (None, (), [], {}, "")}
