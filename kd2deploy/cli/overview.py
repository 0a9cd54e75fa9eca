"""The dry run: what a recipe would do, once all that it needs is known to be there and to fit."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kd2deploy.cli.screen import console
from kd2deploy.core import Target, Task
from kd2deploy.core.figures import count_of
from kd2deploy.core.watcher import Silent
from kd2deploy.data.splits import Splits
from kd2deploy.errors import Fault, ModelError, RecipeError
from kd2deploy.exporters.combinations import refusal
from kd2deploy.flows.pack import device_is_here
from kd2deploy.measure.choosing import Halving
from kd2deploy.measure.protocol import CROWDED_SHARE, full
from kd2deploy.recipe import Answers, Block, Recipe, method_uses
from kd2deploy.recipe.resolve import is_of_others
from kd2deploy.report.tables import Cell, Table
from kd2deploy.report.terminal import print_table, print_text
from kd2deploy.run import Run
from kd2deploy.stages.convert import missing
from kd2deploy.stages.job import Job
from kd2deploy.train.checkpoint import locate as locate_network
from kd2deploy.train.settings import Settings

NO_GATES = "no gates: everything is measured, and nothing is judged by a limit"


@dataclass(frozen=True)
class Overview:
    """A sound recipe's stages in words, and what is doubtful about its data."""

    stages: dict[str, str]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def print(self) -> None:
        rows = tuple(
            (Cell(name if at == 0 else ""), Cell(line))
            for name, what in self.stages.items()
            for at, line in enumerate(what.splitlines())
        )
        caption = "Plan (dry run: the recipe is sound; nothing was kept)"
        print_table(Table(caption, ("stage", "what"), rows), console())
        for warning in self.warnings:
            print_text(f"warning: {warning}", console())


def overview(recipe: Recipe) -> Overview:
    """What a run would do, and how large the data is, once all that a run needs is known to be there and to fit.

    Networks and runtimes are looked at before the data, which may take minutes to read; methods are bound to the
    networks where the recipe names the student (a plan finds it later). A few steps of each training are run on
    throw-away networks, for an estimate of the whole time; nothing else is started, and nothing is kept. A data source
    or teacher of others is not called, so that with one rows, labels, fit and time stay unknown.
    Raises RecipeError, ModelError, DataError, TrainError.
    """
    from kd2deploy.stages.fit import refuse_unfit, refuse_unshared
    from kd2deploy.stages.look import look
    from kd2deploy.stages.made_data import foreseen
    from kd2deploy.stages.prepare import begun

    found = networks(recipe)
    runtimes = {name: left_out(target) for name, target in recipe.resolved_targets().items()}
    uncalled = called_on(recipe)
    rows = f"{uncalled} by code of yours, which a dry run does not call: neither rows nor fit are checked"
    warnings: tuple[str, ...] = ()
    time_needed: list[str] = []
    if not uncalled:
        with TemporaryDirectory() as scratch, Run(Path(scratch)).locked() as run:
            job = begun(recipe, run, Silent())
            refuse_unshared(job)
            task, about = job.task, job.about
            if recipe.student.plan is None:
                refuse_unfit(job, recipe.student)
            elif recipe.teacher_network and "teacher" in found and recipe.teacher_network.fine_tune is None:
                task.networks.check_pair(found["teacher"], found["teacher"])
            splits, made = look(job).splits, foreseen(job)
            time_needed = whole_time(job, runtimes)
        details = {**made, **splits.details}
        shown = [rows_shown(task, splits, about), *(f"{name}: {value}" for name, value in details.items())]
        rows, warnings = "\n".join(shown), splits.warnings
    stages = {"prepare": rows}
    teacher, student = recipe.teacher, recipe.student
    if teacher is not None:
        trained = f", fine-tuned for {how_trained(teacher.fine_tune)}" if teacher.fine_tune else ""
        whence = foretold(teacher.answers) if teacher.answers else "created from its configuration"
        stages["teacher"] = f"{teacher.source or whence}{trained}"
    if recipe.baseline is not None:
        stages["baseline"] = recipe.baseline
    stages["plan"] = "candidates are timed untrained" if student.plan else "the recipe names the student"
    stages["distill"] = "\n".join(
        f"{' + '.join(use.name for use, _ in method_uses(entry.method, '')[0])}, "
        f"{how_trained(entry.settings)}, "
        f"{'seed' if len(recipe.seeds) == 1 else 'seeds'} {', '.join(map(str, recipe.seeds))}"
        for entry in recipe.distill
    )
    stages["control"] = control_shown(recipe)
    if not recipe.distill:
        stages |= {"distill": "nothing: the student is finished, and taken as it is", "control": "none"}
    for target in recipe.resolved_targets().values():
        limits = {key: value for key, value in dataclasses.asdict(target.gates).items() if value is not None}
        reasons = runtimes[target.name]
        said = [f"variants {', '.join(name for name in target.variants if name not in reasons)}"]
        said += [f"left out {name}: {reason}" for name, reason in reasons.items()]
        said += [] if device_is_here(target) else ["no such device is here: a pack is written for it"]
        said += [f"gates {', '.join(f'{key} {value}' for key, value in limits.items())}"] if limits else [NO_GATES]
        stages[f"target {target.name}"] = "\n".join(said)
    if time_needed:
        stages["time"] = "\n".join(time_needed)
    return Overview(stages, tuple(warnings))


def control_shown(recipe: Recipe) -> str:
    if recipe.control is False:
        return "none (control: false)"
    own = ", ".join(f"{name} {value}" for name, value in recipe.control_changes.items())
    return f"the same student without a teacher, {own}" if own else "the same student, as long, without a teacher"


def how_trained(settings: Settings) -> str:
    length = count_of(settings.epochs, "epoch") if settings.steps is None else count_of(settings.steps, "step")
    augmented = f", rows augmented by {', '.join(settings.augment)}" if settings.augment is not None else ""
    shared = f", shared by {count_of(settings.processes, 'process', 'processes')}" if settings.processes > 1 else ""
    return length + augmented + shared


def called_on(recipe: Recipe) -> str:
    """What code of the user's own does for the run's rows; empty where it does nothing."""
    if any(is_of_others("data", one) for one in data_of(recipe)):
        return "read"
    return "answered" if recipe.answers is not None and recipe.answers.ask is not None else ""


def foretold(answers: Answers) -> str:
    if answers.file is not None:
        return f"the answers in {answers.file}"
    return f"{answers.whence} is asked about every row, {answers.at_once} at a time"


def data_of(recipe: Recipe) -> list[Block]:
    """Every data set that the recipe reads."""
    return [recipe.data, *(entry.data for entry in recipe.distill if entry.data is not None)]


def rows_shown(task: Task, splits: Splits, about: str) -> str:
    free = len(splits.unlabelled)
    without = f" ({len(splits.labelled):,} with a label, {free:,} without)" if free else ""
    judged = count_of(len(splits.eval), "evaluation row")
    sizes = f"{len(splits.train):,} training{without}, {len(splits.validation):,} validation, {judged}"
    labels = f"; {count_of(len(splits.labels), 'label')}" if splits.labels else ""
    return f"{about}\n{sizes}{labels}; metric {task.metric.name}"


def whole_time(job: Job, runtimes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """An estimate of the whole run's time, with its parts; `runtimes` says which variants are left out, by target."""
    from kd2deploy.stages.contenders import WAYS
    from kd2deploy.stages.estimate import exports, lines, measuring, training
    from kd2deploy.stages.fit import rehearsal
    from kd2deploy.stages.pace import paces
    from kd2deploy.train.threads import keep_to_granted_cores

    recipe, parts, uncounted = job.recipe, [], ["reading the data, looking at it, and the report"]
    if recipe.student.plan is None:
        keep_to_granted_cores()
        with rehearsal(job, recipe.student) as found:
            timed, beside = paces(found)
        parts += [training(pace) for pace in timed]
        uncounted += beside
    else:
        uncounted.append("the plan and all trainings: their time depends on the student that the plan chooses")
    others = len(recipe.seeds) * (2 if recipe.has_control else 1)
    wanted = recipe.measurement
    for target in recipe.resolved_targets().values():
        if not device_is_here(target):
            uncounted.append(f"all that happens on the device of {target.name}")
            continue
        variants = len(target.variants) - len(runtimes[target.name])
        ways = min(WAYS, variants)
        files = ("teacher as deployed", "teacher as its best file")[:ways]
        besides = len(("teacher", *files, "student"))
        parts += [exports(target.name, variants), exports(f"{target.name}, the teacher", ways)]
        further = (full().end_to_end_share if wanted.end_to_end else 0) + (CROWDED_SHARE if wanted.neighbour else 0)
        timed_s = wanted.cap_s * (1 + further)
        contenders, scored = min(variants, Halving().places) + besides, variants + others + besides
        parts.append(measuring(target.name, contenders, scored, timed_s, wanted.processes))
    return lines(parts, uncounted)


def networks(recipe: Recipe) -> dict[str, Path]:
    """The folders that the recipe starts from; a hub id is fetched. Raises RecipeError with all that are not there."""
    sources = {
        "teacher": recipe.teacher.source if recipe.teacher is not None else None,
        "baseline": recipe.baseline,
        "student": recipe.student.source,
    }
    found: dict[str, Path] = {}
    faults = []
    for who, source in sources.items():
        try:
            if source is not None:
                found[who] = locate_network(source)
        except ModelError as error:
            faults.append(Fault(who if who == "baseline" else f"{who}.from", str(error)))
    if faults:
        raise RecipeError(faults)
    return found


def left_out(target: Target) -> dict[str, str]:
    """Why variants cannot be made here, by name. Raises RecipeError where none is left."""
    reasons = {name: missing(variant) or refusal(target, variant) for name, variant in target.variants.items()}
    found = {name: reason for name, reason in reasons.items() if reason}
    if len(found) == len(target.variants) and device_is_here(target):
        raise RecipeError([Fault("targets", f"{target.name}, {name}: {reason}") for name, reason in found.items()])
    return found
