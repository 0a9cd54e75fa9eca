"""What `compare` does: one comparison, or several and the ranks over them."""

import dataclasses
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kd2deploy.cli.progress import on_terminal
from kd2deploy.cli.screen import answer, console, screen

if TYPE_CHECKING:
    from kd2deploy.report.comparison import Budget


@dataclasses.dataclass(frozen=True)
class Contestants:
    """Who takes part, and with how many seeds."""

    methods: Sequence[str]
    settings: Path | None
    seeds: int


def compared(who: Contestants, file: Path | None, out: Path | None, budget: "Budget", jobs: int | None) -> None:
    """One recipe's comparison, the committed one by default."""
    file = file or Path(str(resources.files("kd2deploy").joinpath("recipes/compare.yaml")))
    folder = out or Path("runs") / (file.stem if file.stem.startswith("compare") else f"compare-{file.stem}")
    page = folder / f"comparison-{budget}.html"
    screen().folder = folder
    with on_terminal() as watcher:
        from kd2deploy.flows.compare import compare
        from kd2deploy.flows.compare.settings import own, seeded

        found = compare(seeded(file, who.seeds), folder, who.methods, budget, watcher, jobs, own(who.settings))

    def draw() -> None:
        from kd2deploy.report.comparison_pages import print_comparison

        print_comparison(found, console())
        typer.echo(f"comparison  {page}  (also .md, .svg and .json)")

    answer({"page": str(page), "comparison": dataclasses.asdict(found)}, draw)


def ranked(who: Contestants, files: Sequence[Path], out: Path | None, budget: "Budget", jobs: int | None) -> None:
    """Several recipes' comparisons, and the methods' ranks over them."""
    folder = out or Path("runs") / "compare-over"
    page = folder / f"ranking-{budget}.html"
    screen().folder = folder
    with on_terminal() as watcher:
        from kd2deploy.flows.compare.over_data import compare_over, named
        from kd2deploy.flows.compare.settings import own, seeded

        recipes = {name: seeded(file, who.seeds) for name, file in named(files).items()}
        found = compare_over(recipes, folder, who.methods, budget, watcher, jobs, own(who.settings))

    def draw() -> None:
        from kd2deploy.report.ranking_pages import print_ranking

        print_ranking(found, console())
        typer.echo(f"ranking  {page}  (also .md, .svg and .json)")

    answer({"page": str(page), "ranking": dataclasses.asdict(found)}, draw)
