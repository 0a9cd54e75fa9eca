"""What there is to choose from: distillation methods and deployment targets, as a list or one in detail."""

import dataclasses
import importlib
import inspect
import re
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd2deploy.cli.screen import console
from kd2deploy.core.search import Around, Between, Said, searched
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.recipe.resolve import known, load_target, locate, suggestion, target_files
from kd2deploy.report.tables import Cell, Table
from kd2deploy.report.terminal import print_table

# methods ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """A method as its own file describes it."""

    name: str
    about: str
    source: str
    departs: str
    """What of it is not the source's."""
    arguments: dict[str, str]
    """As the signature writes them: type and default."""
    searched: dict[str, str]
    """What `kd2deploy tune` tries of them by default."""
    text: str
    """The file's whole docstring."""


def methods() -> list[Listed]:
    return [listed(name) for name in known("method")]


def method(name: str) -> Listed:
    """One method by name. Raises RecipeError with a suggestion."""
    if name not in known("method"):
        raise RecipeError([Fault("NAME", f"no method is called {name!r}; {suggestion(name, known('method'))}")])
    return listed(name)


def listed(name: str) -> Listed:
    function = locate("method", name)
    text = inspect.getdoc(importlib.import_module(function.__module__)) or ""
    arguments = {
        key: str(parameter.replace(annotation=bare(parameter.annotation))).removeprefix(key).lstrip(": ")
        for key, parameter in inspect.signature(function).parameters.items()
    }
    ranges = {key: in_numbers(one) for key, one in searched(function).items()}
    about = text.partition("\n\n")[0].replace("\n", " ")
    source, departs = said(text, "Sources?:"), said(text, "Departs from (?:it|them):")
    return Listed(name, about, source, departs, arguments, ranges, text)


def bare(annotation: Any) -> Any:
    """A type without what is said beside it."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def in_numbers(one: Said) -> str:
    """What is tried of an argument: `1 to 8`, `x1/4 to x4`."""
    if isinstance(one, Around):
        return f"x1/{one.times:g} to x{one.times:g}"
    if isinstance(one, Between):
        return f"{one.low:g} to {one.high:g}"
    return ", ".join(map(str, one.choices))


def said(text: str, mark: str) -> str:
    """What follows a mark (a pattern) at a line's beginning, up to the next mark or empty line."""
    found = re.search(rf"^{mark}(.*?)(?=^\S*Departs from|\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(found.group(1).split()) if found else ""


def print_methods(found: list[Listed]) -> None:
    rows = tuple((Cell(one.name), Cell(one.about)) for one in found)
    caption = "Distillation methods; `kd2deploy methods NAME` tells its source and arguments"
    print_table(Table(caption, ("method", "what it is"), rows), console())


def print_method(one: Listed) -> None:
    print_lines(one.name, re.sub(r"(?<!\n)\n(?!\n|Sources?:|\S*Departs)", " ", one.text))
    rows = tuple((Cell(name), Cell(kind), Cell(one.searched.get(name, ""))) for name, kind in one.arguments.items())
    if rows:
        caption = "Arguments, with their types and defaults, and what `kd2deploy tune` tries"
        print_table(Table(caption, ("argument", "type = default", "tried"), rows), console())


# targets ----------------------------------------------------------------------------------------------------


def targets() -> list[dict[str, Any]]:
    return [plain_target(name) for name in target_files()]


def plain_target(name: str) -> dict[str, Any]:
    """A target by name or file, as plain values. Raises RecipeError."""
    found = load_target(name, "NAME")
    file = target_files().get(name.replace("_", "-"), Path(name))
    return {**dataclasses.asdict(found), "file": str(file)}


def print_targets(found: list[dict[str, Any]]) -> None:
    rows = tuple((Cell(one["name"]), Cell(one["about"]), Cell(one["measured"])) for one in found)
    caption = "Deployment targets; `kd2deploy targets NAME` tells its variants, gates and workload"
    print_table(Table(caption, ("target", "about", "what was run"), rows), console())


def print_target(one: dict[str, Any]) -> None:
    print_lines(one["name"], one["about"])
    facts = {
        "device": " ".join(part for part in (one["device"], one["device_name"]) if part),
        "threads": one["threads"] or "every core that the process may use",
        "workload": in_words(one["workload"]),
        "gates": in_words(one["gates"]),
        "plan": ", ".join(one["plan"]) or next(iter(one["variants"])),
        "what was run": one["measured"],
        "file": one["file"],
    }
    rows = tuple((Cell(name), Cell(str(value))) for name, value in facts.items() if value)
    print_table(Table("", ("", ""), rows), console())
    variants = tuple(
        (
            Cell(name),
            Cell(" -> ".join(in_words(step) for step in variant["steps"]) or "the network as it is"),
            Cell(in_words(variant["session"])),
            Cell(variant["requires"]),
        )
        for name, variant in one["variants"].items()
    )
    print_table(Table("Variants", ("variant", "made by", "opened with", "extra"), variants), console())


def in_words(block: dict[str, Any]) -> str:
    """`name value, name value` of what is set; a converter's name stands alone."""
    return ", ".join(
        str(value) if key == "use" else f"{key} {value}" for key, value in block.items() if value not in (None, "")
    )


def print_lines(title: str, text: str) -> None:
    from rich.text import Text

    shown = console()
    shown.print(Text(title, style="bold"))
    shown.print(Text(text))
    shown.print()
