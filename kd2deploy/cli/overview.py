"""What there is, as tables on the terminal: methods, targets, and what a recipe would do."""

import dataclasses
import importlib
import inspect
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from kd2deploy.core import Target, Task
from kd2deploy.data.prepare import Splits
from kd2deploy.errors import Fault, ModelError, RecipeError
from kd2deploy.exporters.combinations import refusal
from kd2deploy.pack import device_is_here
from kd2deploy.progress import Silent
from kd2deploy.recipe import Recipe, method_uses
from kd2deploy.resolve import is_of_others, known, load_target, locate, target_files
from kd2deploy.run import Run
from kd2deploy.stages.export import missing
from kd2deploy.stages.job import Job
from kd2deploy.train.checkpoint import locate as locate_network
from kd2deploy.train.pair import check_pair


def methods_table() -> None:
    table = Table(
        "method", "arguments and defaults", "what it is", "source", title="Distillation methods", show_lines=True
    )
    for name in known("method"):
        function = locate("method", name)
        module = importlib.import_module(function.__module__)
        lines = (inspect.getdoc(module) or "").splitlines()
        source = next((line.removeprefix("Source: ") for line in lines if line.startswith("Source:")), "")
        arguments = ", ".join(str(parameter) for parameter in inspect.signature(function).parameters.values())
        table.add_row(name, arguments, lines[0] if lines else "", source)
    Console().print(table)


def targets_table() -> None:
    table = Table("target", "about", "variants", "what was run", title="Deployment targets", show_lines=True)
    for name in target_files():
        target: Target = load_target(name)
        table.add_row(name, target.about, "\n".join(target.variants), target.measured)
    Console().print(table)


def overview(recipe: Recipe) -> None:
    """What a run would do, and how large the data is, once all that a run needs is known to be there and to fit.

    Networks and runtimes are looked at before the data, which may take minutes to read; methods are bound to the
    networks where the recipe names the student (a plan finds it later). Nothing is started or written. A data source of
    others is not called, so that with one rows, labels and fit stay unchecked.
    Raises RecipeError, ModelError, DataError.
    """
    from kd2deploy.stages.fit import refuse_unfit
    from kd2deploy.stages.prepare import prepare

    found = networks(recipe)
    runtimes = {name: left_out(target) for name, target in recipe.resolved_targets().items()}
    rows = "read by code of yours, which a dry run does not call: neither rows nor fit are checked"
    warnings: tuple[str, ...] = ()
    if not is_of_others("data", recipe.data):
        task, splits, about = prepare(recipe)
        rows, warnings = rows_shown(task, splits, about), splits.warnings
        if recipe.student.plan is None:
            with TemporaryDirectory() as scratch:
                refuse_unfit(Job(recipe, Run(Path(scratch)), Silent(), splits, task, about), recipe.student.shrink)
        elif "teacher" in found and recipe.teacher.fine_tune is None:
            check_pair(task, found["teacher"], found["teacher"])
    table = Table("stage", "what", title="Plan (dry run: the recipe is sound, nothing was started)", show_lines=True)
    table.add_row("prepare", rows)
    teacher = recipe.teacher
    trained = f", fine-tuned for {teacher.fine_tune.epochs:g} epochs" if teacher.fine_tune else ""
    table.add_row("teacher", f"{teacher.source or 'created from its configuration'}{trained}")
    student = recipe.student
    table.add_row("plan", "candidates are timed untrained" if student.plan else "the recipe names the student")
    for entry in recipe.distill:
        names = " + ".join(use.name for use, _ in method_uses(entry.method, "")[0])
        table.add_row("distill", f"{names}, {entry.settings.epochs:g} epochs, seeds {recipe.seeds}")
    table.add_row(
        "control", "the same student, as long, without a teacher" if recipe.control else "none (control: false)"
    )
    for target in recipe.resolved_targets().values():
        limits = {key: value for key, value in dataclasses.asdict(target.gates).items() if value is not None}
        gates = ", ".join(f"{key} {value}" for key, value in limits.items())
        reasons = runtimes[target.name]
        made = ", ".join(name for name in target.variants if name not in reasons)
        lost = "".join(f"\nleft out {name}: {reason}" for name, reason in reasons.items())
        away = "" if device_is_here(target) else "\nno such device is here: a pack is written for it"
        table.add_row(f"target {target.name}", f"variants {made}{lost}{away}\ngates {gates}")
    console = Console()
    console.print(table)
    for warning in warnings:
        console.print(f"[yellow]warning[/] {warning}")


def rows_shown(task: Task, splits: Splits, about: str) -> str:
    sizes = (
        f"{len(splits.train):,} training, {len(splits.validation):,} validation, {len(splits.eval):,} evaluation rows"
    )
    return f"{about}\n{sizes}; {len(splits.labels)} labels; metric {task.metric}"


def networks(recipe: Recipe) -> dict[str, Path]:
    """The folders that the recipe starts from; a hub id is fetched. Raises RecipeError with all that are not there."""
    sources = {"teacher": recipe.teacher.source, "student": recipe.student.source}
    found: dict[str, Path] = {}
    faults = []
    for who, source in sources.items():
        try:
            if source is not None:
                found[who] = locate_network(source)
        except ModelError as error:
            faults.append(Fault(f"{who}.from", str(error)))
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
