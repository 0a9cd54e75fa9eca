"""The same comparison on several data sets, one recipe each, and the methods' ranks over them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from kd2deploy.core.command import typed_command
from kd2deploy.core.watcher import Watcher
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.flows.compare import compare
from kd2deploy.flows.compare.contest import Entrant
from kd2deploy.measure.ranks import not_apart, ranked
from kd2deploy.recipe import Recipe
from kd2deploy.report.comparison import Budget, Comparison, Standing
from kd2deploy.report.ranking import Contested, Ranked, Ranking
from kd2deploy.report.ranking_pages import write_ranking
from kd2deploy.stages.executor import Jobs


def compare_over(
    recipes: Mapping[str, Recipe],
    folder: Path,
    methods: Sequence[str] = ("all",),
    budget: Budget = "steps",
    watcher: Watcher | None = None,
    jobs: Jobs = None,
    settings: Sequence[Entrant] = (),
) -> Ranking:
    """Each recipe's comparison in a folder of its name under `folder`; `ranking-<budget>.*` is written beside them.

    Raises Kd2DeployError for whatever is the user's to fix; finished comparisons are kept.
    """
    found: dict[str, Comparison] = {}
    for name, recipe in recipes.items():
        if watcher is not None:
            watcher.say(f"comparison {len(found) + 1} of {len(recipes)}: {name}")
        found[name] = compare(recipe, folder / name, methods, budget, watcher, jobs, settings)
    ranking = ranked_over(found, budget)
    write_ranking(ranking, folder)
    return ranking


def named(files: Sequence[Path]) -> dict[str, Path]:
    """The recipes by the name of their folder, their own. Raises RecipeError where two have the same."""
    found: dict[str, Path] = {}
    for file in files:
        if file.stem in found:
            message = f"{found[file.stem]} and {file} have one name, which is that of their folder; rename one"
            raise RecipeError([Fault("recipes", message)])
        found[file.stem] = file
    return found


def ranked_over(comparisons: Mapping[str, Comparison], budget: Budget) -> Ranking:
    """Methods that stand in all comparisons, by their mean rank."""
    tables = [{one.method: one for one in found.standings} for found in comparisons.values()]
    common = [name for name in tables[0] if all(name in table for table in tables)]
    pairs = zip(comparisons.values(), tables, strict=True)
    worths = np.array([[worth(found, table[name]) for name in common] for found, table in pairs])
    ranks = ranked(worths)
    order = sorted(range(len(common)), key=lambda place: ranks.mean[place])
    mean = [ranks.mean[place] for place in order]
    return Ranking(
        budget=budget,
        data=tuple(contested(name, found) for name, found in comparisons.items()),
        methods=tuple(row(common[place], ranks.mean[place], tables) for place in order),
        critical_difference=ranks.critical_difference,
        p_value=ranks.p_value,
        alike=tuple(not_apart(mean, ranks.critical_difference)) if ranks.critical_difference is not None else (),
        seeds=next(iter(comparisons.values())).seeds,
        left_out=tuple(sorted({name for table in tables for name in table} - set(common))),
        command=typed_command(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def worth(found: Comparison, one: Standing) -> float:
    """Its mean score, larger where it is better."""
    assert one.mean.value is not None
    return one.mean.value if found.task.higher_is_better else -one.mean.value


def row(name: str, mean_rank: float, tables: Sequence[Mapping[str, Standing]]) -> Ranked:
    standings = [table[name] for table in tables]
    words = [one.against_control.word for one in standings if one.against_control]
    return Ranked(
        method=name,
        role=standings[0].role,
        trainings=standings[0].trainings,
        mean_rank=mean_rank,
        scores=tuple(one.mean.value or 0.0 for one in standings),
        gaps_closed=tuple(one.gap_closed.value if one.gap_closed else None for one in standings),
        better=words.count("better"),
        worse=words.count("worse"),
    )


def contested(name: str, found: Comparison) -> Contested:
    details = found.data.details
    return Contested(
        name=name,
        about=found.data.source or "",
        task=found.task,
        labelled=int(details.get("labelled training rows") or 0),
        unlabelled=int(details.get("unlabelled training rows") or 0),
        teacher=found.teacher,
        page=f"{name}/comparison-{found.budget}.html",
    )
