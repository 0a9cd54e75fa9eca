"""The recipe: what to compress, on what data, how, for which targets and within which limits.

Parsed strictly. Every `use:` is resolved and its arguments bound to the function's signature before anything starts;
all faults are reported together, each with its path in the file and a suggestion.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from kd2deploy.core.members import Combine
from kd2deploy.core.target import Gates, Target, Workload
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.recipe.answers import READ_LOGITS, Answers, beyond_answers
from kd2deploy.recipe.caching import Caching
from kd2deploy.recipe.faults import block_faults, find_targets, package_faults
from kd2deploy.recipe.methods import build_method, method_uses
from kd2deploy.recipe.resolve import faults_of, one_line, short, suggestion
from kd2deploy.recipe.sharing import sharing_faults, with_processes
from kd2deploy.recipe.strict import STRICT
from kd2deploy.recipe.yaml_text import parsed, text_of
from kd2deploy.train.settings import MOST_STEPS, Settings, changed
from kd2deploy.train.trackers import absent

Block = str | dict[str, Any]


SETTINGS = tuple(field.name for field in dataclasses.fields(Settings))


class Teacher(pydantic.BaseModel):
    """A folder, a hub id or `package:MODULE`; or an architecture to create. `fine_tune` trains it first. Or `answers`
    alone, of a teacher that is no network here."""

    model_config = STRICT
    source: str | None = pydantic.Field(None, alias="from")
    create: dict[str, Any] | None = None
    fine_tune: Settings | None = None
    answers: Answers | None = None

    @pydantic.model_validator(mode="after")
    def one_origin(self) -> "Teacher":
        if sum(one is not None for one in (self.source, self.create, self.answers)) != 1:
            raise ValueError("needs exactly one of `from` (a folder, hub id or package:NAME), `create` and `answers`")
        if self.answers is not None and self.fine_tune is not None:
            raise ValueError("`answers` come from no network here, so there is none to fine-tune")
        if self.create is not None and self.fine_tune is None:
            raise ValueError("`create` makes an untrained network; say how to train it under `fine_tune`")
        return self


Start = Literal["copy", "pretrained", "random"]
"""Where a smaller teacher's weights come from: the teacher, what it was fine-tuned from, or nowhere."""


class Shrink(pydantic.BaseModel):
    """The student as a smaller teacher; what is not named keeps the teacher's size."""

    model_config = STRICT
    layers: int | None = pydantic.Field(None, ge=1)
    hidden: int | None = pydantic.Field(None, ge=1)
    heads: int | None = pydantic.Field(None, ge=1)
    intermediate: int | None = pydantic.Field(None, ge=1)
    front: list[int] | None = None
    depths: list[int] | None = None
    hidden_sizes: list[int] | None = None
    keep: Literal["uniform", "first", "last"] | list[int] = "uniform"
    initialise: Start = "copy"


class Static(pydantic.BaseModel):
    """The student as a table of word vectors, whose mean over a text a small head reads."""

    model_config = STRICT
    dim: int = pydantic.Field(256, ge=1, le=8192)
    source: Literal["teacher", "random"] = pydantic.Field("teacher", alias="from")


class Plan(pydantic.BaseModel):
    """Profile before training: candidates are timed untrained, and the largest that clears the gate is trained."""

    model_config = STRICT
    layers: list[int] | None = None
    hidden: list[int] | None = None
    static: list[Annotated[int, pydantic.Field(ge=1, le=8192)]] = []
    """Dimensions of static embeddings to try as well, after all that is cut out of the teacher."""
    variant: str | None = None
    """The target's variant that candidates are exported as; the target's own choice when left out."""
    candidates: int = pydantic.Field(6, ge=1, le=50)
    margin: float = pydantic.Field(1.1, ge=1)
    """How far above the speed gate a candidate must stand to be trained."""
    keep: Literal["uniform", "first", "last"] = "uniform"
    initialise: Start = "copy"


class Member(pydantic.BaseModel):
    """One of the networks that make a student together."""

    model_config = STRICT
    shrink: Shrink


class Student(pydantic.BaseModel):
    model_config = STRICT
    source: str | None = pydantic.Field(None, alias="from")
    shrink: Shrink | None = None
    create: dict[str, Any] | None = None
    plan: Plan | None = None
    static: Static | None = None
    members: Annotated[list[Member], pydantic.Field(min_length=2, max_length=10)] | None = None
    """Networks that answer as one; `combine` says how."""
    combine: Combine | None = None
    budget: Shrink | None = None
    """The one network whose size the members may not exceed together. It is counted, and not made."""

    @pydantic.model_validator(mode="after")
    def one_origin(self) -> "Student":
        origins = (self.source, self.shrink, self.create, self.plan, self.static, self.members)
        if sum(origin is not None for origin in origins) != 1:
            raise ValueError("needs exactly one of `shrink`, `from`, `create`, `plan`, `static` and `members`")
        if self.members is None and (self.combine or self.budget):
            raise ValueError("`combine` and `budget` are said of `members`; a network by itself has none")
        if self.members is not None and self.combine is None:
            raise ValueError("`members` need `combine`: sum, mean or mean_probability of their answers")
        if {"copy", "pretrained"} <= {one.shrink.initialise for one in self.members or ()}:
            raise ValueError("`members` start from one network or from none; take copy or pretrained, not both")
        return self

    @property
    def cuts(self) -> dict[str, Shrink | Plan]:
        """Every smaller teacher that it is made of, by its path below `student`."""
        alone = {name: one for name, one in (("shrink", self.shrink), ("plan", self.plan)) if one is not None}
        return alone | {f"members[{at}].shrink": one.shrink for at, one in enumerate(self.members or ())}


class Distill(pydantic.BaseModel):
    """One training: a method or several, and how to train. Written flat: `{method: logit, epochs: 3, ...}`."""

    model_config = STRICT
    method: Block | list[Block]
    settings: Settings
    data: Block | None = None
    """Rows to train on in place of the recipe's own training rows."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def flat(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or "settings" in given:
            return given
        rest = {key: value for key, value in given.items() if key not in ("method", "data")}
        return {**{key: given[key] for key in ("method", "data") if key in given}, "settings": rest}


class Tune(pydantic.BaseModel):
    """What `kd2deploy tune` may spend and what it tries. Student and control are each tuned under this budget."""

    model_config = STRICT
    steps: int | None = pydantic.Field(None, ge=1, le=MOST_STEPS)
    """Optimizer steps of all trials of one search."""
    minutes: float | None = pydantic.Field(None, gt=0, le=1e6)
    """Or minutes of all its trials, added up, however many run at a time."""
    methods: Annotated[list[Block | list[Block]], pydantic.Field(min_length=1)] | None = None
    """What is tried as the last training's method; the recipe's own, when left out."""
    search: dict[str, Any] = pydantic.Field(default_factory=dict)
    """Ranges by setting, or by `method.argument`, in place of those that are said where these are defined."""
    prune: bool = True
    """Whether a trial ends early that is behind half of the finished ones."""

    @pydantic.model_validator(mode="after")
    def one_budget(self) -> "Tune":
        if self.steps is not None and self.minutes is not None:
            raise ValueError("has two budgets; give `steps` or `minutes`")
        return self

    def holds(self, steps: int, seconds: float, share: float = 1.0) -> bool:
        """Whether so many steps, or seconds where the budget is in minutes, fit in a share of it."""
        if self.steps is not None:
            return steps <= share * self.steps
        return self.minutes is not None and seconds <= share * 60 * self.minutes


class Measurement(pydantic.BaseModel):
    """How long latency may be measured. A cap that comes too early leaves the intervals wide: a limit inside one is
    INCONCLUSIVE, and a limit that even its pessimistic end clears still holds."""

    model_config = STRICT
    processes: int = pydantic.Field(5, ge=3, le=100)
    """Fresh processes per contender. With 3 a speedup that lies within 5 % of its limit is often left undecided."""
    cap_s: float = pydantic.Field(15.0, gt=0, lt=1e6)
    """Seconds of wall clock for the timed rounds, per contender and over all processes."""
    block_s: float = pydantic.Field(0.05, gt=0, lt=60)
    """Seconds that a contender runs before the next one's turn."""
    end_to_end: bool = True
    """Whether whole requests are timed too, from rows to answers; at most about a quarter longer."""
    in_flight: int | None = pydantic.Field(None, ge=1, le=1024)
    """Requests that are served at once when throughput is taken, in place of what the target's workload says."""
    neighbour: bool = False
    """Whether requests are timed beside a busy neighbour too: another process that keeps one core at work."""

    @property
    def throughput_s(self) -> float:
        """Seconds that throughput is taken over, in each process."""
        return 6 * self.block_s


class Recipe(pydantic.BaseModel):
    """Everything that a run depends on. `Recipe.read` and `Recipe.parse` are the ways in."""

    model_config = STRICT
    task: Block
    data: Block
    teacher: Teacher | None = None
    """Whom the students learn from. Without one no method that needs a teacher can be trained."""
    baseline: str | None = None
    """The network that speed and accuracy are compared with: a folder, hub id or `package:MODULE`. The teacher where it
    is left out."""
    student: Student
    distill: list[Distill]
    """The trainings, one after the other. None: the student is finished, and taken as it is."""
    control: bool | dict[str, Any] = True
    """Train the same student at the same budget without a teacher: what the report compares with. A mapping holds the
    settings of its last training that are other than the student's."""
    tune: Tune | None = None
    """What `kd2deploy tune` searches; other commands take the recipe as it stands."""
    seeds: list[int] = pydantic.Field([0], min_length=1, max_length=100)
    teacher_cache: Caching = pydantic.Field(default_factory=lambda: Caching.model_validate("auto"))
    targets: list[str] = pydantic.Field(["cpu"], min_length=1)
    variants: Annotated[list[str], pydantic.Field(min_length=1)] | None = None
    """Only these of the targets' variants are tried; all of them when left out."""
    gates: Gates = pydantic.Field(default_factory=Gates)
    """Limits that replace the target's own."""
    measurement: Measurement = pydantic.Field(default_factory=lambda: Measurement.model_validate({}))
    validation_share: float = pydantic.Field(0.1, gt=0, lt=1)
    """Rows held out of the training set to choose by; the evaluation set is for judging alone."""
    limit_train: int | None = pydantic.Field(None, ge=2)
    limit_eval: int | None = pydantic.Field(None, ge=2)
    limit_labels: int | None = pydantic.Field(None, ge=2)
    """Keep this many labels; the other training rows stay, unlabelled, for the methods that need none."""
    missing: Literal["error", "drop"] = "error"
    """What to do with rows that lack their text or label."""
    report_to: list[Literal["tensorboard", "wandb", "mlflow"]] = pydantic.Field(default_factory=list)
    """Trackers that are told the losses, the validation scores and the verdict."""

    @pydantic.field_validator("seeds")
    @classmethod
    def distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) >= 2**31:
            raise ValueError(f"seeds must be distinct numbers from 0 to 2^31 - 1, got {short(seeds)}")
        return seeds

    @classmethod
    def read(cls, path: Path, *, as_data: bool = False) -> "Recipe":
        """A recipe file. Relative paths in it are read from the working folder. `as_data` as in `parse`.

        Raises RecipeError."""
        try:
            text = text_of(path)
        except (OSError, ValueError) as error:
            raise RecipeError([Fault(str(path), f"cannot be read: {one_line(error)}")]) from None
        return cls.from_yaml(text, str(path), as_data=as_data)

    @classmethod
    def from_yaml(cls, text: str, called: str, *, as_data: bool = False) -> "Recipe":
        """A recipe's text. Raises RecipeError."""
        try:
            found = parsed(text)
        except ValueError as error:
            raise RecipeError([Fault(called, f"is not valid YAML: {one_line(error)}")]) from None
        return cls.parse(found, as_data=as_data)

    @classmethod
    def parse(cls, found: Any, *, as_data: bool = False) -> "Recipe":
        """A recipe from plain values. Raises RecipeError with every fault, those of `use:` blocks and targets included.

        A recipe that names code of others is code, and reading it runs them. `as_data` is for one that came with a
        bundle or a run: what it names must be ours, or trusted by name.
        `model_validate` reads one whose methods, data and targets need not be here: what a pack brings along.
        """
        if not isinstance(found, Mapping):
            raise RecipeError(
                [Fault("", f"a recipe is a mapping with {', '.join(required())}; `kd2deploy init` writes one")]
            )
        faults: list[Fault] = []
        recipe = None
        try:
            recipe = cls.model_validate(found)
        except pydantic.ValidationError as error:
            fields = {"": list(cls.model_fields), **PARTS}
            faults = [
                Fault(fault.path.replace(".settings", ""), fault.message) for fault in faults_of(error, fields=fields)
            ]
        faults += block_faults(found, as_data)
        if found.get("teacher") is None and found.get("baseline") is None:
            faults.append(Fault("teacher", "is missing; without one name a `baseline` to compare the student with"))
        faults += find_targets(found.get("targets"), found.get("variants"), as_data)[1]
        faults += package_faults(found) if as_data else []
        reasons = {at: absent(tracker) for at, tracker in enumerate(recipe.report_to if recipe else ())}
        faults += [Fault(f"report_to[{at}]", reason) for at, reason in reasons.items() if reason]
        if recipe is not None and not faults:
            faults = [
                *(recipe.method_faults() if recipe.distill else recipe.faults_untrained()),
                *recipe.answer_faults(),
                *recipe.start_faults(),
                *recipe.gate_faults(),
                *recipe.control_faults(),
            ]
        if faults or recipe is None:
            raise RecipeError(sorted(set(faults), key=lambda fault: fault.path))
        return recipe

    def spec(self) -> dict[str, Any]:
        """Plain values, as `parse` takes them."""
        whole = pydantic.TypeAdapter(Recipe).dump_python(self, mode="json", by_alias=True)
        whole["distill"] = [
            {"method": entry["method"], "data": entry["data"], **entry["settings"]} for entry in whole["distill"]
        ]
        found: dict[str, Any] = pruned(whole)
        return found

    def to_yaml(self) -> str:
        return str(yaml.safe_dump(self.spec(), sort_keys=False, allow_unicode=True))

    def method_faults(self) -> list[Fault]:
        """What the methods' builders themselves refuse, and methods that need a teacher where there is none."""
        faults: list[Fault] = []
        for at, entry in enumerate(self.distill):
            path = f"distill[{at}].method"
            try:
                build_method(entry.method, path)
            except RecipeError as error:
                faults += error.faults
                continue
            first = self.distill[0].settings.processes
            faults += sharing_faults(entry.method, entry.settings.processes, first, f"distill[{at}].processes")
            if self.teacher is None:
                faults += [
                    Fault(path, f"{use.name} needs a teacher, and the recipe names none; name one under `teacher`")
                    for use, _ in method_uses(entry.method, path)[0]
                    if "teacher" in use().needs
                ]
        return faults

    @property
    def processes(self) -> int:
        """The most that share one of its trainings."""
        tuned = self.teacher.fine_tune if self.teacher is not None else None
        return max((each.processes for each in (tuned, *(entry.settings for entry in self.distill)) if each), default=1)

    def shared_by(self, processes: int | None, shard_teacher: bool = False) -> "Recipe":
        """The recipe with every training shared by so many processes, the teacher in shards where that is asked for;
        None leaves it. Raises RecipeError."""
        return self if processes is None else Recipe.parse(with_processes(self.spec(), processes, shard_teacher))

    @property
    def teacher_network(self) -> Teacher | None:
        """The teacher, where it is a network here."""
        return self.teacher if self.teacher is not None and self.teacher.answers is None else None

    @property
    def answers(self) -> Answers | None:
        """The teacher, where it is known by its answers alone."""
        return self.teacher.answers if self.teacher is not None else None

    def answer_faults(self) -> list[Fault]:
        """What cannot be had of a teacher that is known by its answers alone."""
        if self.answers is None:
            return []
        faults = []
        if self.baseline is None:
            message = "have no network whose speed could be measured; name under `baseline` what speed is compared with"
            faults.append(Fault("teacher.answers", message))
        for at, entry in enumerate(self.distill):
            path = f"distill[{at}]"
            try:
                build_method(entry.method, f"{path}.method")
            except RecipeError:
                continue  # which `method_faults` tells
            faults += [
                Fault(f"{path}.method", f"{use.name} {reason}, and teacher.answers has no network; {READ_LOGITS}")
                for use, _ in method_uses(entry.method, f"{path}.method")[0]
                if (reason := beyond_answers(use()))
            ]
            if entry.data is not None:
                faults.append(Fault(f"{path}.data", "reads rows that teacher.answers does not answer; leave it out"))
            if entry.settings.augment is not None:
                message = "changes the rows that teacher.answers has answered; leave it out"
                faults.append(Fault(f"{path}.augment", message))
        return faults

    def start_faults(self) -> list[Fault]:
        """A student that starts from what the teacher was fine-tuned from, where nothing says what that was."""
        known = self.teacher is not None and self.teacher.source is not None and self.teacher.fine_tune is not None
        if known:
            return []
        message = (
            "is the network that the teacher is fine-tuned from, here: name `teacher: {from: ..., fine_tune: ...}`"
        )
        return [
            Fault(f"student.{how}.initialise", f"`pretrained` {message}, or take copy or random")
            for how, shape in self.student.cuts.items()
            if shape.initialise == "pretrained"
        ]

    def control_faults(self) -> list[Fault]:
        """Settings of the control that no training can have."""
        if not self.control_changes:
            return []
        if not self.distill:
            return [Fault("control", "are settings of a training, and `distill` is empty; leave them out")]
        return setting_faults(self.distill[-1].settings, self.control_changes, "control")

    def gate_faults(self) -> list[Fault]:
        """A limit of what is not to be measured."""
        wanted = [name for name, one in self.resolved_targets().items() if one.gates.end_to_end is not None]
        if self.measurement.end_to_end or not wanted:
            return []
        message = f"is held to a limit by {wanted[0]} (gates.end_to_end), so it must be measured; leave it out"
        return [Fault("measurement.end_to_end", message)]

    def faults_untrained(self) -> list[Fault]:
        """What makes no sense where nothing is trained."""
        faults = []
        if self.student.source is None:
            faults.append(
                Fault("distill", "is empty, so the student must be a finished network: `student: {from: FOLDER}`")
            )
        if len(self.seeds) > 1:
            faults.append(Fault("seeds", "are those of trainings, and `distill` is empty; leave them out"))
        if self.gates.min_gap_closed is not None:
            faults.append(
                Fault("gates.min_gap_closed", "compares with a control, and `distill` is empty: none is trained")
            )
        return faults

    @property
    def has_control(self) -> bool:
        """Whether the same student is trained without a teacher."""
        return self.control is not False and bool(self.distill)

    @property
    def control_changes(self) -> dict[str, Any]:
        """Settings of the control's last training that are not the student's."""
        return self.control if isinstance(self.control, dict) else {}

    def workload_of(self, target: Target) -> Workload:
        """The target's, with as many requests in flight as the recipe asks for."""
        in_flight = self.measurement.in_flight
        return target.workload if in_flight is None else dataclasses.replace(target.workload, in_flight=in_flight)

    def resolved_targets(self) -> dict[str, Target]:
        """The targets by name, the recipe's gates over their own. Raises RecipeError."""
        targets, faults = find_targets(self.targets, self.variants)
        if faults:
            raise RecipeError(faults)
        return {
            target.name: dataclasses.replace(
                target,
                gates=self.gates.over(target.gates),
                workload=self.workload_of(target),
                variants={name: target.variants[name] for name in self.variants or target.variants},
            )
            for target in targets
        }


def setting_faults(settings: Settings, values: Mapping[str, Any], path: str) -> list[Fault]:
    """What keeps these values from standing in the place of a training's own."""
    unknown = [name for name in values if name not in SETTINGS]
    if unknown:
        return [Fault(f"{path}.{name}", f"is no setting; {suggestion(str(name), SETTINGS)}") for name in unknown]
    try:
        pydantic.TypeAdapter(Settings).validate_python({**dataclasses.asdict(settings), "steps": None, **values})
        changed(settings, values)
    except pydantic.ValidationError as error:
        return faults_of(error, f"{path}.")
    except (ValueError, TypeError) as error:
        return [Fault(path, one_line(error))]
    return []


PARTS: dict[str, list[str]] = {
    "teacher": ["from", "create", "fine_tune", "answers"],
    "answers": list(Answers.model_fields),
    "student": ["from", "shrink", "create", "plan", "static", "members", "combine", "budget"],
    "members": list(Member.model_fields),
    "budget": list(Shrink.model_fields),
    "settings": ["method", "data", *SETTINGS],
    "fine_tune": list(SETTINGS),
    "shrink": list(Shrink.model_fields),
    "plan": list(Plan.model_fields),
    "static": ["dim", "from"],
    "tune": list(Tune.model_fields),
    "measurement": list(Measurement.model_fields),
    "teacher_cache": list(Caching.model_fields),
    "gates": [field.name for field in dataclasses.fields(Gates)],
}


def required() -> list[str]:
    return [name for name, field in Recipe.model_fields.items() if field.is_required()]


OPEN = frozenset({"task", "data", "create", "method", "methods", "search", "control"})
"""Blocks whose fields are not ours: a null in them says something."""


def pruned(value: Any) -> Any:
    """Without what was not set."""
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if inner is not None}
        return {key: inner if key in OPEN else pruned(inner) for key, inner in kept.items()}
    return [pruned(inner) for inner in value] if isinstance(value, list) else value
