"""The methods' defaults as docs/methods.md states them."""

import re
from pathlib import Path

TABLE = Path(__file__).parents[1] / "docs" / "methods.md"
NO_DEFAULT = object()
WORDS = {"none": None, "true": True, "false": False, "()": ()}


def value(text: str) -> object:
    """A default as the table writes it: 1/3, 5e-7, none, (), true or a word."""
    if text in WORDS:
        return WORDS[text]
    try:
        over, _, under = text.partition("/")
        return float(over) / float(under or 1)
    except ValueError:
        return text


def defaults() -> dict[str, dict[str, object]]:
    """By method and argument; NO_DEFAULT where the table gives none."""
    rows = (line.split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| `"))
    found: dict[str, dict[str, object]] = {}
    for cells in rows:
        pairs = [pair.split(" ", 1) for group in re.findall(r"`([^`]+)`", cells[4]) for pair in group.split(", ")]
        found[cells[0].strip("| `")] = {pair[0]: value(pair[1]) if pair[1:] else NO_DEFAULT for pair in pairs}
    return found
