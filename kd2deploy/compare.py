"""compare: every method and the no-teacher control at an equal budget, over several seeds, in one table and one plot.

Teacher and student's start are made once. Then seed after seed, and in each every method in turn, so that a drift of
the machine falls on all alike and a comparison that is cut short is balanced. Each training is a stage of the run
folder: the same command goes on where it stopped, and the two budgets share what they have in common.
"""

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.core import Scores, Task
from kd2deploy.errors import Fault, Kd2DeployError, RecipeError
from kd2deploy.measure.accuracy import outputs_of
from kd2deploy.measure.intervals import Interval
from kd2deploy.measure.machine import describe_machine, state
from kd2deploy.measure.over_seeds import (
    difference_over_examples,
    difference_over_seeds,
    gap_closed_over_seeds,
    ratio_over_seeds,
)
from kd2deploy.measure.statistics import mean_over_seeds
from kd2deploy.progress import Silent, Watcher
from kd2deploy.recipe import Distill, Recipe
from kd2deploy.report import DataInfo, Estimate, estimate
from kd2deploy.report.comparison import Budget, Comparison, Difference, SeedRun, Standing, Word
from kd2deploy.report.comparison_pages import write_comparison
from kd2deploy.report.formats import seconds as in_words
from kd2deploy.resolve import suggestion
from kd2deploy.run import Run, readable_os_errors, versions
from kd2deploy.stages.budget import steps_in, steps_of, within
from kd2deploy.stages.distill import Distilled, forget_cache, train_by, unlabelled
from kd2deploy.stages.fit import rehearsal
from kd2deploy.stages.job import Job, Live, Model, encoded
from kd2deploy.stages.measure import read_outputs
from kd2deploy.stages.prepare import prepare
from kd2deploy.stages.student import start
from kd2deploy.stages.teacher import teach

Plans = dict[str, list[Distill]]
"""Trainings by method."""
BASELINE, CONTROL = "logit", "task_only"
RECIPES = "recipes/methods"
SEED = 0
"""Of the bootstrap over examples."""
OFF_BUDGET = 0.1
"""Share of a time budget by which a method may miss it before that is said. Ours."""
BUSY = 1.0
"""A load of so much above the cores is someone else's work, and is said. Ours."""


@dataclass(frozen=True)
class Entrant:
    """A method with its trainings: most have one, two-stage methods two."""

    name: str
    trainings: tuple[Distill, ...]


@dataclass(frozen=True)
class Outing:
    """One method trained with one seed, and what it scored on the evaluation set."""

    distilled: Distilled
    scores: Scores
    load: float

    @property
    def seconds(self) -> float:
        """Of training alone."""
        return sum(one.seconds for one in self.distilled.trained)

    @property
    def setup_s(self) -> float:
        return sum(self.distilled.setup.values())

    @property
    def steps(self) -> int:
        return sum(one.steps for one in self.distilled.trained)

    @property
    def step_s(self) -> float:
        return self.seconds / self.steps


@dataclass
class Contest:
    """What a comparison holds while it runs."""

    job: Job
    teacher: Model
    start: Model
    steps: int
    """Of the recipe's own trainings, which set the budget."""
    budget_s: float | None = None
    """Seconds of set-up and training for each, once they are known where time is to be equal."""
    outings: dict[str, dict[int, Outing]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def compare(
    recipe: Recipe,
    folder: Path,
    methods: Sequence[str] = ("all",),
    budget: Budget = "steps",
    watcher: Watcher | None = None,
    command: str = "",
) -> Comparison:
    """Train the methods and the control with each of the recipe's seeds and write `comparison-<budget>.*` in `folder`.

    The budget is that of the recipe's own trainings: so many optimizer steps for all; or as much time as plain logit
    distillation takes for them. A method that does not fit the networks is left out with its reason. Raises
    Kd2DeployError for whatever is the user's to fix; finished trainings are kept.
    """
    watcher = watcher or Silent()
    entrants = field_of(methods)
    if recipe.student.plan is not None:
        raise RecipeError([Fault("student.plan", "a comparison needs one student; name `shrink`, `from` or `create`")])
    run = Run(folder, lambda name, state: None if name.startswith("score-") else watcher.stage(name, state))
    with readable_os_errors(folder), run.locked():
        began = datetime.now(UTC)
        task, splits, about = prepare(recipe)
        job = Job(recipe, run, watcher, splits, task, about)
        steps = sum(steps_of(entry.settings, len(splits.train)) for entry in recipe.distill)
        plans = at_equal_steps(job, entrants, steps)
        left_out = misfits(job, plans)
        teacher = teach(job).model
        started = start(job, teacher, recipe.student.shrink)
        contest = Contest(job, teacher, started.model, steps, left_out=left_out)
        plans = {name: entries for name, entries in plans.items() if name not in left_out}
        if budget == "time":
            plans = at_equal_time(contest, entrants, plans)
        judged = scored(job, "teacher", teacher)[0].metrics[task.metric]
        found = None
        for seed in recipe.seeds:
            train_all(contest, plans, seed)
            found = replace(
                drawn_up(contest, plans, budget, judged, recipe.seeds),
                command=command or shlex.join(sys.argv),
                started=began.isoformat(timespec="seconds"),
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            write_comparison(found, folder)
        forget_cache(folder)
    assert found is not None
    return found


# who takes part -------------------------------------------------------------------------------------------------


def field_of(methods: Sequence[str]) -> list[Entrant]:
    """The entrants, control and baseline first: without them nothing can be compared. Raises RecipeError."""
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
    return [Entrant(name, tuple(Recipe.read(known[name]).distill)) for name in names]


def committed() -> dict[str, Path]:
    """The methods' own recipes by method."""
    folder = Path(str(resources.files("kd2deploy").joinpath(RECIPES)))
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


# the budget -----------------------------------------------------------------------------------------------------


def at_equal_steps(job: Job, entrants: Sequence[Entrant], steps: int) -> Plans:
    """Each method's trainings, so many steps in all, under the recipe's own settings: learning rate, batch and the rest
    are the same for all."""
    settings, rows = job.recipe.distill[0].settings, len(job.splits.train)
    return {one.name: within(steps, one.trainings, settings, rows) for one in entrants}


def misfits(job: Job, plans: Plans) -> dict[str, str]:
    """Methods that do not fit the networks, and why: known before anything is trained.

    Raises RecipeError where nothing could be compared without them.
    """
    with rehearsal(job, job.recipe.student.shrink) as found:
        faults = {name: found.method_faults(entries) for name, entries in plans.items()}
        needed = [*found.label_faults(), *faults[BASELINE], *faults[CONTROL]]
    if needed:
        raise RecipeError(needed)
    left_out = {name: "; ".join(fault.message for fault in known) for name, known in faults.items() if known}
    for name, reason in left_out.items():
        job.watcher.say(f"{name} is left out: {reason}")
    return left_out


def at_equal_time(contest: Contest, entrants: Sequence[Entrant], plans: Plans) -> Plans:
    """Each method's trainings within the time that plain logit takes, its own set-up included.

    It starts from a whole training of each method at equal steps, with the first seed: what it takes there before the
    first step and then per step, generator's turns and second stages included, decides how many steps fit. A method
    whose set-up alone takes longer is left out.
    """
    job = contest.job
    probe = Contest(job, contest.teacher, contest.start, contest.steps, left_out=contest.left_out)
    seed = job.recipe.seeds[0]
    train_all(probe, plans, seed, "timing, ")
    timed = {name: found[seed] for name, found in probe.outings.items()}
    contest.budget_s = allowed = timed[BASELINE].setup_s + timed[BASELINE].seconds
    fitting: Plans = {}
    for one in entrants:
        if one.name not in timed:
            continue
        took = timed[one.name]
        if took.setup_s >= allowed:
            contest.left_out[one.name] = (
                f"its set-up alone takes {in_words(took.setup_s)} and the whole budget is {in_words(allowed)}; give "
                "the recipe's trainings more epochs, name a generator, or compare at equal steps"
            )
            continue
        fitting |= at_equal_steps(job, [one], steps_in(allowed - took.setup_s, took.step_s))
    return fitting


# training and scoring -------------------------------------------------------------------------------------------


def train_all(contest: Contest, plans: Mapping[str, Sequence[Distill]], seed: int, what: str = "") -> None:
    """Every method that is still in, with one seed. What fails is left out, unless nothing can be compared without."""
    job = contest.job
    clock = Remaining(plans, len(job.recipe.seeds) - job.recipe.seeds.index(seed) if not what else 1)
    for name, entries in plans.items():
        if name in contest.left_out:
            continue
        began = time.perf_counter()
        try:
            outing = taken(contest, name, entries, seed)
        except Kd2DeployError as error:
            if name in (BASELINE, CONTROL):
                raise
            contest.left_out[name] = str(error)
            contest.outings.pop(name, None)
            job.watcher.say(f"{what}seed {seed}: {name} is left out: {error}")
            continue
        contest.outings.setdefault(name, {})[seed] = outing
        clock.spent(name, time.perf_counter() - began)
        metric = job.task.metric
        job.watcher.say(
            f"{what}seed {seed}, {clock.done}/{len(plans)}  {name}: {metric} {outing.scores.metrics[metric]:.4f}, "
            f"{outing.steps} steps in {in_words(outing.seconds)}; {clock.left()}"
        )


class Remaining:
    """How long the rest will take, from what this seed's trainings took."""

    def __init__(self, names: Mapping[str, object], seeds: int) -> None:
        self.names, self.seeds, self.took = list(names), seeds, dict[str, float]()

    @property
    def done(self) -> int:
        return len(self.took)

    def spent(self, name: str, seconds: float) -> None:
        self.took[name] = seconds

    def left(self) -> str:
        mean = sum(self.took.values()) / len(self.took)
        whole = sum(self.took.get(name, mean) for name in self.names)
        return f"about {in_words(whole * self.seeds - sum(self.took.values()))} left"


def taken(contest: Contest, name: str, entries: Sequence[Distill], seed: int) -> Outing:
    distilled = train_by(contest.job, name, "student", entries, seed, contest.start, contest.teacher)
    scores, load = scored(contest.job, f"{name}-seed{seed}", distilled.model)
    return Outing(distilled, scores, load)


def scored(job: Job, name: str, model: Model) -> tuple[Scores, float]:
    """A network's scores on the evaluation set as PyTorch runs it, and the machine's load when it was trained."""

    def work(folder: Path) -> Mapping[str, Any]:
        load = state().load
        features = encoded(model.task, job.splits.eval, model.folder)
        session = Live(model.task.load(model.folder), model.task)
        np.savez(folder / "outputs.npz", allow_pickle=False, **outputs_of(session, model.task, features))
        return {"load": load}

    stage = job.run.stage(f"score-{name}", {}, {"data": job.splits.sha256, "model": model.sha256}, work)
    return model.task.score(read_outputs(stage.path("outputs.npz")), job.splits.eval), stage.result["load"]


# the report -----------------------------------------------------------------------------------------------------


def drawn_up(
    contest: Contest, plans: Mapping[str, Sequence[Distill]], budget: Budget, teacher: float, wanted: Sequence[int]
) -> Comparison:
    job, splits = contest.job, contest.job.splits
    complete = contest.outings
    seeds = list(complete[CONTROL])
    standings = [standing(job.task, name, plans[name], complete, teacher) for name in complete]
    machine = describe_machine()
    loads = [run.load for one in standings for run in one.runs]
    busy = f"the load was up to {max(loads):.1f} on {machine.cores} cores: something else ran, and times are not exact"
    free = sum(unlabelled(row) for row in splits.train)
    return Comparison(
        title=f"Distillation methods compared: {job.task.name.replace('_', ' ')}",
        budget=budget,
        budget_about=budget_about(contest),
        budget_s=contest.budget_s,
        task=job.task_info,
        data=DataInfo(
            source=job.about,
            train_rows=len(splits.train),
            eval_rows=len(splits.eval),
            overlap=splits.overlap,
            sha256=splits.sha256,
            details={"labelled training rows": len(splits.train) - free, "unlabelled training rows": free},
            warnings=tuple(splits.warnings),
        ),
        teacher=teacher,
        sizes={"teacher": parameters(contest.teacher), "student": parameters(contest.start)},
        standings=tuple(sorted(standings, key=lambda one: -(one.mean.value or 0.0))),
        seeds=tuple(seeds),
        seeds_wanted=tuple(wanted),
        left_out=dict(contest.left_out),
        warnings=(
            *splits.warnings,
            *([busy] if max(loads) > machine.cores + BUSY else []),
            *off_budget(standings, contest.budget_s),
        ),
        machine={
            "processor": machine.cpu,
            "instruction sets": ", ".join(machine.isa),
            "cores": machine.cores,
            "memory (GB)": round(machine.memory_gb, 1),
            "system": machine.system,
            "python": machine.python,
            "GPUs": ", ".join(str(gpu.get("name", "")) for gpu in machine.gpus) or "none",
            "load, lowest and highest": f"{min(loads):.1f} and {max(loads):.1f}",
        },
        versions=versions(),
        recipe=job.recipe.to_yaml(),
    )


def budget_about(contest: Contest) -> str:
    if contest.budget_s is None:
        return f"{contest.steps:,} optimizer steps each"
    return (
        f"the wall-clock time, set-up included, that {BASELINE} takes for {contest.steps:,} steps, "
        f"{in_words(contest.budget_s)}"
    )


def off_budget(standings: Sequence[Standing], budget_s: float | None) -> list[str]:
    """A sentence for each method whose mean time is not what the budget allowed it."""
    if budget_s is None:
        return []
    spent = {one.method: float(np.mean([run.setup_s + run.seconds for run in one.runs])) for one in standings}
    return [
        f"{name} took {in_words(seconds)} on average and the budget is {in_words(budget_s)}: not at equal time"
        for name, seconds in spent.items()
        if abs(seconds / budget_s - 1) > OFF_BUDGET
    ]


def parameters(model: Model) -> int:
    return sum(weight.numel() for weight in model.task.load(model.folder).parameters())


def standing(
    task: Task,
    name: str,
    entries: Sequence[Distill],
    outings: Mapping[str, Mapping[int, Outing]],
    teacher: float,
) -> Standing:
    """One method's row. Every method has been trained with the same seeds."""
    own, control = list(outings[name].values()), list(outings[CONTROL].values())
    scores, controls = ([one.scores.metrics[task.metric] for one in group] for group in (own, control))
    closed = gap_closed_over_seeds(scores, controls, teacher)
    no_gap = "needs two seeds" if len(own) < 2 else "the teacher is not surely better than no teacher"
    is_control = name == CONTROL
    return Standing(
        method=name,
        role="control" if is_control else "baseline" if name == BASELINE else "method",
        trainings=tuple(
            f"{described(entry)}, {one.steps} steps"
            for entry, one in zip(entries, own[0].distilled.trained, strict=True)
        ),
        runs=tuple(
            SeedRun(
                seed,
                one.scores.metrics[task.metric],
                one.steps,
                one.seconds,
                one.distilled.setup,
                one.load,
            )
            for seed, one in outings[name].items()
        ),
        mean=shown(mean_over_seeds(scores)),
        spread=float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        against_baseline=None if name in (BASELINE, CONTROL) else difference(task, own, outings[BASELINE]),
        against_control=None if is_control else difference(task, own, outings[CONTROL]),
        gap_closed=None if is_control else shown(closed) if closed else Estimate(None, note=no_gap),
        step_ms=float(np.median([one.step_s for one in own])) * 1e3,
        cost=shown(ratio_over_seeds([one.step_s for one in own], [one.step_s for one in control])),
        cached=own[0].distilled.cached,
        generator=own[0].distilled.generator,
    )


def described(entry: Distill) -> str:
    """`rail_kd (dim 128, task 0.33)`."""
    return " + ".join(blocks(entry.method))


def blocks(method: Any) -> Iterator[str]:
    for block in method if isinstance(method, list) else [method]:
        if isinstance(block, str):
            yield block
            continue
        arguments = ", ".join(f"{key} {value}" for key, value in block.items() if key != "use")
        yield f"{block['use']} ({arguments})" if arguments else str(block["use"])


def difference(task: Task, ours: Sequence[Outing], others: Mapping[int, Outing]) -> Difference:
    theirs = list(others.values())
    over_seeds = difference_over_seeds(
        [one.scores.metrics[task.metric] for one in ours], [one.scores.metrics[task.metric] for one in theirs]
    )
    over_examples = difference_over_examples(
        task, [one.scores for one in ours], [one.scores for one in theirs], np.random.default_rng(SEED)
    )
    return Difference(shown(over_seeds), shown(over_examples), word(over_seeds))


def word(found: Interval) -> Word:
    return "better" if found.low > 0 else "worse" if found.high < 0 else "not told apart"


def shown(found: Interval) -> Estimate:
    return estimate(found.estimate, found.low, found.high)
