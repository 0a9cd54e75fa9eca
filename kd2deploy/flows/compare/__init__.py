"""compare: every method and the no-teacher control at an equal budget, over several seeds, in one table and one plot.

Teacher and student's start are made once. Then seed after seed, and in each every method in turn, so that a drift of
the machine falls on all alike and a comparison that is cut short is balanced; or as many side by side as are asked for,
where nothing is timed. Each training is a stage of the run
folder: the same command goes on where it stopped, and the two budgets share what they have in common.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from kd2deploy.core.command import typed_command
from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.errors import DataError, Fault, RecipeError
from kd2deploy.flows.compare.account import drawn_up
from kd2deploy.flows.compare.budget import at_equal_steps, at_equal_time
from kd2deploy.flows.compare.contest import BASELINE, CONTROL, Contest, Entrant, Plans, scored, train_all
from kd2deploy.recipe import Distill, Recipe, method_name
from kd2deploy.recipe.resolve import suggestion
from kd2deploy.report.comparison import Budget, Comparison
from kd2deploy.report.comparison_pages import write_comparison
from kd2deploy.run import Run, readable_os_errors
from kd2deploy.stages.executor import Cluster, Jobs, are_several, executor_for
from kd2deploy.stages.fit import refuse_unshared, rehearsal
from kd2deploy.stages.job import Job
from kd2deploy.stages.kept import forget_cache
from kd2deploy.stages.made_data import with_made_data
from kd2deploy.stages.prepare import begun, others
from kd2deploy.stages.student import start
from kd2deploy.stages.teacher import teach
from kd2deploy.train.length import steps_of

RECIPES = "recipes/methods"


def compare(
    recipe: Recipe,
    folder: Path,
    methods: Sequence[str] = ("all",),
    budget: Budget = "steps",
    watcher: Watcher | None = None,
    jobs: Jobs = None,
    settings: Sequence[Entrant] = (),
) -> Comparison:
    """Train the methods and the control with each of the recipe's seeds and write `comparison-<budget>.*` in `folder`.

    The budget is that of the recipe's own trainings: so many optimizer steps for all; or as much time as plain logit
    distillation takes for them. A method that does not fit the networks is left out with its reason. `jobs` trainings
    run at a time, each in a process of its own; what each costs is then not told. `settings` are further entrants
    (`settings.own`). Raises Kd2DeployError for whatever is the user's to fix; finished trainings are kept.
    """
    watcher = watcher or Silent()
    entrants = [*field_of(methods, recipe.distill), *settings]
    if recipe.student.plan is not None:
        raise RecipeError([Fault("student.plan", "a comparison needs one student; name its shape or its folder")])
    if recipe.teacher_network is None:
        lacks = "is missing" if recipe.teacher is None else "has answers and no network"
        raise RecipeError([Fault("teacher", f"{lacks}: a comparison trains methods that learn from one")])
    if not recipe.distill:
        raise RecipeError(
            [Fault("distill", "is empty: a comparison trains as long as the recipe does; name a training")]
        )
    if budget == "time" and are_several(jobs):
        message = "trainings are timed where time is equal, and what is timed runs alone; leave it out, or compare at "
        flag = "--on" if isinstance(jobs, Cluster) else "--jobs"
        raise RecipeError([Fault(flag, message + "equal steps (--budget steps)")])
    run = Run(folder, lambda name, how: None if name.startswith("score-") else watcher.stage(name, how))
    with readable_os_errors(folder), run.locked():
        began = datetime.now(UTC)
        job = begun(recipe, run, watcher, executor_for(run, jobs))
        refuse_unshared(job)
        task, splits = job.task, job.splits
        steps = sum(steps_of(entry.settings, len(splits.train)) for entry in recipe.distill)
        job, left_out = with_own_data(job, entrants)
        plans = {name: each for name, each in at_equal_steps(job, entrants, steps).items() if name not in left_out}
        left_out |= misfits(job, plans)
        teacher = teach(job).origin
        job = with_made_data(job, teacher)
        started = start(job, teacher, recipe.student)
        contest = Contest(job, teacher, started.model, steps, left_out=left_out)
        plans = {name: entries for name, entries in plans.items() if name not in left_out}
        if budget == "time":
            plans = at_equal_time(contest, entrants, plans)
        judged = scored(job, "teacher", teacher)[0].metrics[task.metric.name]
        found = None
        for seeds in rounds(recipe.seeds, len(plans), job.executor.width):
            train_all(contest, plans, seeds)
            found = replace(
                drawn_up(contest, plans, budget, judged, recipe.seeds),
                command=typed_command(),
                started=began.isoformat(timespec="seconds"),
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            write_comparison(found, folder)
        forget_cache(folder)
    assert found is not None
    return found


def rounds(seeds: Sequence[int], methods: int, width: int) -> list[Sequence[int]]:
    """The seeds in their order, as many at a time as keep `width` processes busy: one where a single training runs."""
    size = math.ceil(width / methods)
    return [seeds[at : at + size] for at in range(0, len(seeds), size)]


def field_of(methods: Sequence[str], own: Sequence[Distill] = ()) -> list[Entrant]:
    """The entrants, control and baseline first: without them nothing can be compared. Raises RecipeError.

    A method that is named in one of the recipe's `own` trainings has the arguments that it has there.
    """
    known = committed()
    wanted = sorted(known) if "all" in methods else list(methods)
    faults = [
        Fault("--methods", f"no method is called {name!r}; {suggestion(name, ['all', *known])}")
        for name in wanted
        if name not in known
    ]
    if faults:
        raise RecipeError(faults)
    names = dict.fromkeys([CONTROL, BASELINE, *wanted])
    given = {name: tuple(entry for entry in own if method_name(entry.method) == name) for name in names}
    return [Entrant(name, given[name] or tuple(Recipe.read(known[name]).distill)) for name in names]


def committed() -> dict[str, Path]:
    """The methods' own recipes by method."""
    folder = Path(str(resources.files("kd2deploy").joinpath(RECIPES)))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def with_own_data(job: Job, entrants: Sequence[Entrant]) -> tuple[Job, dict[str, str]]:
    """The job with the data that entrants' trainings name; and for whom these cannot be had, with the reason."""
    beside, to_make, trainings = dict(job.beside), dict(job.to_make), list(job.recipe.distill)
    left_out = {}
    for one in entrants:
        asking = job.recipe.model_copy(update={"distill": list(one.trainings)})
        try:
            found, makeable = others(asking, job.task, job.splits)
        except (DataError, RecipeError) as error:
            left_out[one.name] = str(error)
            job.watcher.say(f"{one.name} is left out: {left_out[one.name]}")
            continue
        beside, to_make, trainings = beside | found, to_make | makeable, [*trainings, *one.trainings]
    recipe = job.recipe.model_copy(update={"distill": trainings})
    return replace(job, recipe=recipe, beside=beside, to_make=to_make), left_out


def misfits(job: Job, plans: Plans) -> dict[str, str]:
    """Methods that do not fit the networks, and why: known before anything is trained.

    Raises RecipeError where nothing could be compared without them.
    """
    with rehearsal(job, job.recipe.student) as found:
        faults = {name: found.method_faults(entries) for name, entries in plans.items()}
        needed = [*found.label_faults(), *faults[BASELINE], *faults[CONTROL]]
    if needed:
        raise RecipeError(needed)
    left_out = {name: "; ".join(fault.message for fault in known) for name, known in faults.items() if known}
    for name, reason in left_out.items():
        job.watcher.say(f"{name} is left out: {reason}")
    return left_out
