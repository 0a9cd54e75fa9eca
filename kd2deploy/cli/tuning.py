"""What `tune` does: the recipe's search under a budget, what came of it, and the verdict's exit code."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kd2deploy.cli.ending import plain_result
from kd2deploy.cli.flags import workers
from kd2deploy.cli.progress import on_terminal
from kd2deploy.cli.screen import answer, console, screen

if TYPE_CHECKING:
    from kd2deploy.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Budgeted:
    """What is typed in place of the recipe's `tune` section, or of its budget."""

    space: Path | None
    steps: int | None
    minutes: float | None


def tuned(file: Path, typed: Budgeted, out: Path | None, jobs: int | None, on: str | None) -> None:
    """Search, carry out what came of it, show both, and leave with the verdict's exit code."""
    folder = out or Path("runs") / f"tune-{file.stem}"
    screen().folder = folder
    with on_terminal() as watcher:
        from kd2deploy.flows.compress import worst
        from kd2deploy.flows.tune import TUNED, tune
        from kd2deploy.report import print_report
        from kd2deploy.report.tuning_pages import print_tuning

        found, results = tune(with_budget(file, typed), folder, watcher, workers(jobs, on))

    def draw() -> None:
        for result in results:
            print_report(result.report, console())
            typer.echo(f"report  {result.folder / 'report.html'}  (also .md and .json)")
        print_tuning(found, console())
        typer.echo(f"search  {folder / 'tuning.html'}  (also .md and .json)")
        typer.echo(f"recipe  {folder / TUNED}")

    told: dict[str, Any] = {
        "exit_code": worst(results),
        "page": folder / "tuning.html",
        "recipe": folder / TUNED,
        "tuning": dataclasses.asdict(found),
        "targets": [plain_result(result) for result in results],
    }
    answer(told, draw)
    raise typer.Exit(worst(results))


def with_budget(file: Path, typed: Budgeted) -> "Recipe":
    """The recipe, its `tune` section from another file where one is named, under the budget that is typed, if any.

    Raises RecipeError."""
    from kd2deploy.errors import Fault, RecipeError
    from kd2deploy.recipe import Recipe
    from kd2deploy.recipe.resolve import values_in

    recipe = Recipe.read(file)
    section: Any = recipe.spec().get("tune", {}) if typed.space is None else values_in(typed.space, "--space")
    budget = {name: value for name, value in (("steps", typed.steps), ("minutes", typed.minutes)) if value is not None}
    if len(budget) > 1:
        raise RecipeError([Fault("--minutes", "and --steps are two budgets; give one of them")])
    if budget and isinstance(section, dict):
        section = {key: value for key, value in section.items() if key not in ("steps", "minutes")} | budget
    return Recipe.parse({**recipe.spec(), "tune": section})
