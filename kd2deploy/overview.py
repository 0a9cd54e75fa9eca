"""What there is, as tables on the terminal: methods, targets, and what a recipe would do."""

import dataclasses
import importlib
import inspect

from rich.console import Console
from rich.table import Table

from kd2deploy.core.target import Target
from kd2deploy.recipe import Recipe, method_uses
from kd2deploy.resolve import known, load_target, locate, target_files


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
    """What a run would do, and how large the data is; nothing is started or written."""
    from kd2deploy.stages.prepare import prepare

    task, splits, about = prepare(recipe)
    table = Table("stage", "what", title="Plan (dry run: the recipe is sound, nothing was started)", show_lines=True)
    sizes = (
        f"{len(splits.train):,} training, {len(splits.validation):,} validation, {len(splits.eval):,} evaluation rows"
    )
    table.add_row("prepare", f"{about}\n{sizes}; {len(splits.labels)} labels; metric {task.metric}")
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
        table.add_row(f"target {target.name}", f"variants {', '.join(target.variants)}\ngates {gates}")
    console = Console()
    console.print(table)
    for warning in splits.warnings:
        console.print(f"[yellow]warning[/] {warning}")
