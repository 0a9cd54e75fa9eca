"""The space of a search: what it may change of a recipe's last training, and the training that a choice makes of it."""

import dataclasses
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kd2deploy.core.search import Around, Between, OneOf, Range, range_of, searched
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.recipe.methods import build_method, method_name, method_uses
from kd2deploy.recipe.resolve import Use, short, suggestion
from kd2deploy.recipe.schema import SETTINGS, Block, Distill, Tune, setting_faults
from kd2deploy.train.settings import Settings, changed

METHOD = "method"
"""The name under which a search says which method it tries."""
WEIGHT = "weight"
Params = Mapping[str, Any]
"""What one trial tries, by name."""


@dataclass(frozen=True)
class Knob:
    """One thing that is searched: a setting, or an argument of one block of a method."""

    name: str
    """As it is told: `learning_rate`, `logit.temperature`."""
    key: str
    """The setting or argument itself."""
    range: Range
    own: Any
    """Its value in the recipe."""
    block: int | None = None
    """Which block of the method it is an argument of."""
    of_whole: bool = False
    """Whether it and others of its block are scaled to have the sum that they have in the recipe."""


@dataclass(frozen=True)
class Choice:
    """A method that may be tried, with what is searched of it."""

    name: str
    blocks: tuple[Mapping[str, Any], ...]
    knobs: tuple[Knob, ...]
    listed: bool
    """Whether it is written as a list, whose blocks may have weights."""

    def method(self, params: Params) -> Block | list[Block]:
        """As a recipe gives it, with what a trial tries of it."""
        blocks = [dict(block) for block in self.blocks]
        for knob in self.knobs:
            assert knob.block is not None
            if knob.name in params:
                blocks[knob.block][knob.key] = params[knob.name]
        for at, block in enumerate(blocks):
            parts = [knob for knob in self.knobs if knob.of_whole and knob.block == at]
            if any(knob.name in params for knob in parts):
                tried = {knob: params.get(knob.name, knob.own) for knob in parts}
                scale = sum(knob.own for knob in parts) / sum(tried.values())
                block |= {knob.key: value * scale for knob, value in tried.items()}
        return plainly(blocks if self.listed else blocks[0])


@dataclass(frozen=True)
class Space:
    """Everything that a search may change of a training."""

    entry: Distill
    """The training as the recipe has it."""
    settings: tuple[Knob, ...]
    choices: tuple[Choice, ...]

    def chosen(self, params: Params) -> Choice:
        return next((one for one in self.choices if one.name == params.get(METHOD)), self.choices[0])

    def knobs(self, choice: Choice) -> tuple[Knob, ...]:
        """What is searched with one method."""
        return (*self.settings, *choice.knobs)

    @property
    def names(self) -> list[str]:
        """Everything that any trial may try, the method first."""
        several = [METHOD] if len(self.choices) > 1 else []
        knobs = [*self.settings, *(knob for one in self.choices for knob in one.knobs)]
        return [*several, *dict.fromkeys(knob.name for knob in knobs)]

    @property
    def own(self) -> dict[str, Any]:
        """The recipe's own values, as far as they lie in the space: none of a method that is not the recipe's."""
        mine = next((one for one in self.choices if one.method({}) == plainly(self.entry.method)), None)
        several = {METHOD: mine.name} if mine is not None and len(self.choices) > 1 else {}
        knobs = self.settings if mine is None else self.knobs(mine)
        return {**several, **{knob.name: knob.own for knob in knobs if knob.range.holds(knob.own)}}

    def training(self, params: Params) -> Distill:
        """The recipe's training with what a trial tries."""
        values = {knob.key: params[knob.name] for knob in self.settings if knob.name in params}
        method = self.chosen(params).method(params)
        return Distill(method=method, settings=changed(self.entry.settings, values), data=self.entry.data)


def plainly(method: Block | Sequence[Block]) -> Block | list[Block]:
    """A method as short as a recipe may give it."""
    return plain_block(method) if isinstance(method, str | dict) else [plain_block(block) for block in method]


def plain_block(block: Block) -> Block:
    """A block that says nothing but its name is that name."""
    return block["use"] if isinstance(block, dict) and len(block) == 1 else block


def space_of(entry: Distill, tune: Tune) -> Space:
    """What may be changed of a training: settings, methods and their arguments. Raises RecipeError with every fault."""
    faults: list[Fault] = []
    tried = tune.methods if tune.methods is not None else [entry.method]
    where = [f"tune.methods[{at}]" for at in range(len(tried))] if tune.methods is not None else ["distill.method"]
    settings = setting_knobs(entry.settings, tune, faults)
    choices: list[Choice] = []
    asked = set(tune.search) & set(SETTINGS)
    for path, method in zip(where, tried, strict=True):
        uses, wrong = method_uses(method, path)
        if not wrong:
            try:
                build_method(method, path)
            except RecipeError as error:
                wrong = list(error.faults)
        if wrong:
            faults += wrong
            continue
        name = fresh(method_name(method), {one.name for one in choices})
        taken = {knob.name for one in choices for knob in one.knobs}
        given = method if isinstance(method, list) else [method]
        blocks = tuple({"use": block} if isinstance(block, str) else dict(block) for block in given)
        knobs: list[Knob] = []
        for at, (use, block) in enumerate(zip((use for use, _ in uses), blocks, strict=True)):
            for key, value, said in offered(use, block, isinstance(method, list)):
                title = f"{use.name}.{key}"
                asked |= {title} & set(tune.search)
                found = range_for(title, value, tune, said, faults)
                if found is not None:
                    full = title if title not in taken else f"{name}: {title}"
                    full = fresh(full, {knob.name for knob in knobs})
                    knobs.append(Knob(full, key, found, value, at, isinstance(said, Around) and said.of_whole))
        choices.append(Choice(name, blocks, tuple(knobs), isinstance(method, list)))
    known = [
        *SETTINGS,
        *(f"{use.name}.{key}" for use, block in all_uses(tried) for key, _, _ in offered(use, block, True)),
    ]
    faults += [
        Fault(
            f"tune.search.{short(name)}", f"is no setting, and no argument of what is tried; {suggestion(name, known)}"
        )
        for name in tune.search
        if name not in asked
    ]
    space = Space(entry, tuple(settings), tuple(choices))
    faults += [] if faults else ends_refused(space)
    if faults:
        raise RecipeError(faults)
    return space


def settings_space(entry: Distill, tune: Tune) -> Space:
    """The same search of another training's settings alone: of the control's. It may hold nothing."""
    search = {name: given for name, given in tune.search.items() if name in SETTINGS}
    return space_of(entry, tune.model_copy(update={"methods": None, "search": search}))


def all_uses(tried: list[Any]) -> Iterator[tuple[Use, Mapping[str, Any]]]:
    for method in tried:
        for use, _ in method_uses(method, "")[0]:
            yield use, {}


def offered(use: Use, block: Mapping[str, Any], listed: bool) -> Iterator[tuple[str, Any, Any]]:
    """Every argument of a method: its name, its value here, and what it says may be tried in its place, if anything."""
    said = searched(use.function)
    for key, one in inspect.signature(use.function).parameters.items():
        value = use.arguments.get(key, None if one.default is one.empty else one.default)
        yield key, value, said.get(key)
    if listed:
        yield WEIGHT, block.get(WEIGHT, 1.0), Around(4.0) if WEIGHT in block else None


def setting_knobs(settings: Settings, tune: Tune, faults: list[Fault]) -> list[Knob]:
    """What is searched of the settings: the length in steps where the recipe gives it so, else in epochs."""
    said = {name: one for name, one in searched(Settings).items() if getattr(settings, name) is not None}
    if "steps" in said:
        del said["epochs"]
    if {"epochs", "steps"} <= {name for name, given in tune.search.items() if given is not None}:
        faults.append(Fault("tune.search", "names `epochs` and `steps`, which are one thing; leave one out"))
    if tune.search.get("steps") is not None:
        said.pop("epochs", None)
    if tune.search.get("epochs") is not None:
        said.pop("steps", None)
    knobs = []
    for name in SETTINGS:
        value = getattr(settings, name)
        found = range_for(name, value, tune, said.get(name), faults)
        if found is not None:
            knobs.append(Knob(name, name, found, value))
    return knobs


def range_for(name: str, value: Any, tune: Tune, said: Any, faults: list[Fault]) -> Range | None:
    """What is tried of one thing: as the recipe says, else as is said where the thing is defined."""
    if name not in tune.search:
        return range_of(said, value) if said is not None else None
    given = tune.search[name]
    if given is None:
        return None
    try:
        return range_from(given, value)
    except ValueError as error:
        faults.append(Fault(f"tune.search.{name}", str(error)))
        return None


def range_from(given: Any, value: Any) -> Range | None:
    """A range as a recipe writes it. Raises ValueError."""
    if isinstance(given, list):
        return OneOf(tuple(given))
    if isinstance(given, Mapping) and set(given) == {"times"} and is_number(given["times"]):
        return range_of(Around(given["times"]), value)
    if isinstance(given, Mapping) and {"low", "high"} <= set(given) <= {"low", "high", "log"}:
        for end in ("low", "high"):
            if not is_number(given[end]):
                raise ValueError(f"`{end}` must be a number, got {short(given[end])}; 1e-4 is written 1.0e-4")
        if not isinstance(given.get("log", False), bool):
            raise ValueError(f"`log` is true or false, got {short(given['log'])}")
        return Between(given["low"], given["high"], given.get("log", False))
    raise ValueError(
        f"is a list of values, {{low: 1, high: 8, log: true}}, {{times: 4}} around the recipe's own, or null to leave "
        f"it; got {short(given)}"
    )


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def ends_refused(space: Space) -> list[Fault]:
    """What a training would refuse of the values that are tried: every choice, or the ends of a range."""
    faults = []
    for choice in space.choices:
        for knob in space.knobs(choice):
            tried = knob.range.choices if isinstance(knob.range, OneOf) else (knob.range.low, knob.range.high)
            for value in tried:
                path = f"tune.search.{knob.name}"
                if knob.block is None:
                    wrong = setting_faults(space.entry.settings, {knob.key: value}, path)
                else:
                    method = choice.method({knob.name: value})
                    wrong = method_uses(method, path)[1]
                    try:
                        build_method(method, path)
                    except RecipeError as error:
                        wrong = wrong or list(error.faults)
                faults += [Fault(path, f"{shown(value)}: {one.message}") for one in wrong]
    return list(dict.fromkeys(faults))


def shown(value: Any) -> str:
    """A value as a search tells it: `0.00042`, `uniform`, `[[1, 2]]`."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def fresh(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken."""
    names = (name if at == 1 else f"{name}-{at}" for at in range(1, len(taken) + 2))
    return next(one for one in names if one not in taken)


def plain_range(found: Range) -> dict[str, Any]:
    """A range as plain values."""
    return (
        {"one of": [shown(value) for value in found.choices]} if isinstance(found, OneOf) else dataclasses.asdict(found)
    )
