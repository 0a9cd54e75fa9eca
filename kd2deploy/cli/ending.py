"""How a run is carried out and how its results are shown."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from kd2deploy.cli.launched import AS_WRITTEN, Shared
from kd2deploy.cli.progress import on_terminal
from kd2deploy.cli.screen import answer, console, screen
from kd2deploy.core.watcher import Watcher

if TYPE_CHECKING:
    from kd2deploy.flows.compress import Result
    from kd2deploy.recipe import Recipe
    from kd2deploy.report import Report
    from kd2deploy.stages.executor import Jobs

Until = Literal["plan", "distill", "export", "bundle"]


def carry_out(
    recipe: Path,
    out: Path | None,
    until: Until = "bundle",
    jobs: "Jobs" = None,
    shared: Shared = AS_WRITTEN,
) -> None:
    """Run a recipe, show what it came to, and leave with the verdict's exit code."""
    with on_terminal() as watcher:
        from kd2deploy.recipe import Recipe

        found = Recipe.read(recipe).shared_by(shared.processes, shared.shard_teacher)
        results = carried_out(found, out or Path("runs") / recipe.stem, watcher, until, jobs)
    end(results, until)


def carried_out(
    recipe: "Recipe", folder: Path, watcher: Watcher, until: Until = "bundle", jobs: "Jobs" = None
) -> "list[Result]":
    from kd2deploy.flows.compress import compress as run

    screen().folder = folder
    return run(recipe, folder, watcher, until, jobs=jobs)


def end(results: "Sequence[Result]", until: Until = "bundle") -> None:
    """Show the results and leave with the worst verdict's exit code."""
    from kd2deploy.flows.compress import worst
    from kd2deploy.report import print_report

    def draw() -> None:
        for result in results:
            print_report(result.report, console())
            typer.echo(f"report  {result.folder / 'report.html'}  (also .md and .json)")
            for student in result.students if until == "distill" else ():
                typer.echo(f"student {student}")
            if result.bundle is not None:
                typer.echo(f"bundle  {result.bundle}")
            if result.pack is not None:
                typer.echo(f"pack    {result.pack}  (no such device is here: run its finish.py there)")

    answer({"exit_code": worst(results), "targets": [plain_result(result) for result in results]}, draw)
    raise typer.Exit(worst(results))


def plain_result(result: "Result") -> dict[str, Any]:
    """What one target came to: the verdict, and where everything lies. The report's JSON has all figures."""
    report = result.report
    return {
        "target": result.target,
        "outcome": result.outcome.value if result.outcome else None,
        "verdict": dataclasses.asdict(report.verdict) if report.verdict else None,
        "report": result.folder / "report.json",
        "page": result.folder / "report.html",
        "bundle": result.bundle,
        "pack": result.pack,
        "students": list(result.students),
    }


def answer_report(found: "Report") -> None:
    """A report as tables, or its JSON."""
    import json

    from kd2deploy.report import print_report

    answer(json.loads(found.to_json()), lambda: print_report(found, console()))
