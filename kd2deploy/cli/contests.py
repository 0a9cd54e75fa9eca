"""What `compare` does: one comparison, or several and the ranks over them."""

import dataclasses
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from kd2deploy.cli.progress import on_terminal
from kd2deploy.cli.screen import answer, console, screen

if TYPE_CHECKING:
    from rich.console import Console

    from kd2deploy.report.comparison import Budget, Comparison
    from kd2deploy.report.ranking import Ranking
    from kd2deploy.stages.executor import Jobs

Told = TypeVar("Told", "Comparison", "Ranking")


@dataclasses.dataclass(frozen=True)
class Contestants:
    """Who takes part, and with how many seeds."""

    methods: Sequence[str]
    settings: Path | None
    seeds: int


def compared(who: Contestants, file: Path | None, out: Path | None, budget: "Budget", jobs: "Jobs") -> None:
    """One recipe's comparison, the committed one by default."""
    file = file or Path(str(resources.files("kd2deploy").joinpath("recipes/compare.yaml")))
    folder = out or Path("runs") / (file.stem if file.stem.startswith("compare") else f"compare-{file.stem}")
    page = folder / f"comparison-{budget}.html"
    screen().folder = folder
    with on_terminal() as watcher:
        from kd2deploy.flows.compare import compare
        from kd2deploy.flows.compare.settings import own, seeded
        from kd2deploy.report.comparison_pages import print_comparison

        found = compare(seeded(file, who.seeds), folder, who.methods, budget, watcher, jobs, own(who.settings))
    told("comparison", page, found, print_comparison)


def ranked(who: Contestants, files: Sequence[Path], out: Path | None, budget: "Budget", jobs: "Jobs") -> None:
    """Several recipes' comparisons, and the methods' ranks over them."""
    folder = out or Path("runs") / "compare-over"
    page = folder / f"ranking-{budget}.html"
    screen().folder = folder
    with on_terminal() as watcher:
        from kd2deploy.flows.compare.over_data import compare_over, named
        from kd2deploy.flows.compare.settings import own, seeded
        from kd2deploy.report.ranking_pages import print_ranking

        recipes = {name: seeded(file, who.seeds) for name, file in named(files).items()}
        found = compare_over(recipes, folder, who.methods, budget, watcher, jobs, own(who.settings))
    told("ranking", page, found, print_ranking)


def told(kind: str, page: Path, found: Told, printed: Callable[[Told, "Console"], None]) -> None:
    """What was found on the terminal and where its page lies, or all of it as JSON."""

    def draw() -> None:
        printed(found, console())
        typer.echo(f"{kind}  {page}  (also .md, .svg and .json)")

    answer({"page": str(page), kind: dataclasses.asdict(found)}, draw)
