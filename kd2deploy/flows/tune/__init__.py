"""tune: settings and methods searched under a budget on the validation rows, and the best judged once.

The control is searched under the same budget as the student. Then the recipe that came of it is carried out as any
other: its seeds are trained, exported, measured and judged on the evaluation rows, which nothing has read before.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kd2deploy.core.command import typed_command
from kd2deploy.core.figures import count_of
from kd2deploy.core.search import OneOf
from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.core.written import write_text
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.exporters.combinations import refuse_hopeless
from kd2deploy.flows.compress import Result, compress
from kd2deploy.flows.tune.finals import decided
from kd2deploy.flows.tune.search import Sought, sampler_library, search
from kd2deploy.measure.machine import describe_machine
from kd2deploy.recipe import Distill, Recipe, Tune
from kd2deploy.recipe.schema import SETTINGS
from kd2deploy.recipe.space import METHOD, Choice, Space, settings_space, space_of
from kd2deploy.report.formats import seconds as in_words
from kd2deploy.report.tuning import Judged, Search, Tuning
from kd2deploy.report.tuning_pages import write_tuning
from kd2deploy.run import Run, readable_os_errors, versions
from kd2deploy.stages.distill import of_control
from kd2deploy.stages.executor import Jobs, executor_for
from kd2deploy.stages.fit import Rehearsal, refuse_unshared, rehearsal
from kd2deploy.stages.job import Job
from kd2deploy.stages.made_data import with_made_data
from kd2deploy.stages.prepare import begun
from kd2deploy.stages.student import start
from kd2deploy.stages.teacher import teach
from kd2deploy.train.length import steps_of
from kd2deploy.train.threads import keep_to_granted_cores

TUNED = "tuned.yaml"
LEAST = 5
"""Trainings that a budget should hold at the least, where it is refused for holding none. Ours."""


def tune(
    recipe: Recipe, folder: Path, watcher: Watcher | None = None, jobs: Jobs = None
) -> tuple[Tuning, list[Result]]:
    """Search a recipe's last training and its control, and carry out what came of it; `tuned.yaml` and `tuning.*` are
    written in `folder`.

    The same command goes on where it stopped. `jobs` trials run at a time, each in a process of its own.
    Raises Kd2DeployError for whatever is the user's to fix; finished trials are kept.
    """
    refuse_hopeless(recipe.resolved_targets().values())
    told, tuned = searched(recipe, folder, watcher, jobs)
    results = compress(tuned, folder, watcher, jobs=jobs)
    told = replace(told, judged=tuple(judged(one, folder) for one in results), finished=now())
    write_tuning(told, folder)
    return told, results


def searched(recipe: Recipe, folder: Path, watcher: Watcher | None = None, jobs: Jobs = None) -> tuple[Tuning, Recipe]:
    """`tune` up to the recipe that came of it: no evaluation row has been read then. Raises Kd2DeployError."""
    watcher = watcher or Silent()
    keep_to_granted_cores()
    wanted = searchable(recipe)
    sampler_library()
    run = Run(folder, watcher.stage)
    with readable_os_errors(folder), run.locked():
        began = datetime.now(UTC)
        job = begun(recipe, run, watcher, executor_for(run, jobs))
        refuse_unshared(job)
        student, control = spaces(job, wanted)
        refuse_small(job, student, wanted)
        networks = teach(job)
        job = with_made_data(job, networks.teacher)
        started = start(job, networks.origin, recipe.student).model
        before = tuple(recipe.distill[:-1])
        found, entry = won(Sought(job, "student", before, student, started, networks.teacher, wanted))
        searches: list[Search] = [found]
        own: bool | dict[str, Any] = False
        if recipe.has_control:
            plain = tuple(of_control(job, recipe.distill)[:-1])
            found, other = won(Sought(job, "control", plain, control, started, None, wanted))
            searches.append(found)
            own = differing(entry, other) or True
        tuned = recipe.model_copy(update={"distill": [*before, entry], "control": own, "tune": None})
        told = drawn_up(job, tuned, wanted, searches, began)
        write_text(folder / TUNED, tuned.to_yaml())
        write_tuning(told, folder)
    return told, tuned


def won(sought: Sought) -> tuple[Search, Distill]:
    """A search with its finals, and the training that won."""
    found = decided(sought, search(sought))
    return found, sought.training(found.winner.params)


def searchable(recipe: Recipe) -> Tune:
    """What the recipe wants searched. Raises RecipeError where nothing can be."""
    faults = []
    if recipe.student.plan is not None:
        faults.append(Fault("student.plan", "a search needs one student; name its shape or its folder"))
    if not recipe.distill:
        faults.append(Fault("distill", "is empty, so there is no training to tune; name one"))
    if recipe.tune is None or (recipe.tune.steps is None and recipe.tune.minutes is None):
        faults.append(
            Fault("tune", "needs a budget: `tune: {steps: 20000}` or `{minutes: 60}`, or --steps or --minutes")
        )
    if faults:
        raise RecipeError(faults)
    assert recipe.tune is not None
    return recipe.tune


def spaces(job: Job, wanted: Tune) -> tuple[Space, Space]:
    """What is searched of student and control, as far as it fits the networks. Raises RecipeError."""
    recipe = job.recipe
    student = space_of(recipe.distill[-1], wanted)
    control = settings_space(of_control(job, recipe.distill)[-1], wanted)
    with rehearsal(job, recipe.student) as found:
        faults = [*found.label_faults(), *found.method_faults(recipe.distill[:-1])]
        for choice in student.choices:
            params = {METHOD: choice.name}
            faults += found.method_faults([student.training(params)])
        if faults:
            raise RecipeError(list(dict.fromkeys(faults)))
        student = fitting(job, student, found)
    if not student.names:
        raise RecipeError([Fault("tune.search", "leaves nothing to search; take a `null` out of it, or name a range")])
    return student, control


def fitting(job: Job, space: Space, found: Rehearsal) -> Space:
    """The space without the arguments of methods that these networks do not take, which is said."""
    choices = []
    for choice in space.choices:
        kept = []
        for knob in choice.knobs:
            if not isinstance(knob.range, OneOf):
                kept.append(knob)
                continue
            fit = [
                value
                for value in knob.range.choices
                if not found.method_faults([space.training({METHOD: choice.name, knob.name: value})])
            ]
            gone = [value for value in knob.range.choices if value not in fit]
            if gone:
                job.watcher.say(
                    f"{knob.name}: {', '.join(map(str, gone))} does not fit these networks, and is not tried"
                )
            if len(fit) > 1:
                kept.append(replace(knob, range=OneOf(tuple(fit))))
        choices.append(Choice(choice.name, choice.blocks, tuple(kept), choice.listed))
    return replace(space, choices=tuple(choices))


def refuse_small(job: Job, space: Space, wanted: Tune) -> None:
    """RecipeError where a budget of steps does not hold one trial of the recipe's own settings."""
    entries = (*job.recipe.distill[:-1], space.training(space.own))
    one = sum(steps_of(entry.settings, len(job.splits_for(entry.data).train)) for entry in entries)
    if wanted.steps is not None and one > wanted.steps:
        message = f"is {wanted.steps}, and one training takes {count_of(one, 'step')}; give {LEAST * one} or more"
        raise RecipeError([Fault("tune.steps", message)])


def differing(student: Distill, control: Distill) -> dict[str, Any]:
    """The control's settings that are not the student's."""
    pairs = {name: (getattr(control.settings, name), getattr(student.settings, name)) for name in SETTINGS}
    return {name: own for name, (own, other) in pairs.items() if own != other and not (name == "steps" and own is None)}


def drawn_up(job: Job, tuned: Recipe, wanted: Tune, searches: Sequence[Search], began: datetime) -> Tuning:
    machine = describe_machine()
    budget = (
        count_of(wanted.steps, "optimizer step")
        if wanted.steps is not None
        else f"{in_words(60 * (wanted.minutes or 0.0))} of training"
    )
    return Tuning(
        title=f"Settings searched: {job.task.name.replace('_', ' ')}",
        task=job.task_info,
        data=job.about,
        budget=budget,
        searches=tuple(searches),
        tuned=tuned.to_yaml(),
        recipe=job.recipe.to_yaml(),
        seeds=tuple(job.recipe.seeds),
        machine={"processor": machine.cpu, "cores": machine.cores, "memory (GB)": round(machine.memory_gb, 1)},
        versions=versions(),
        command=typed_command(),
        started=began.isoformat(timespec="seconds"),
        finished=now(),
    )


def judged(result: Result, folder: Path) -> Judged:
    known = result.report.distillation
    return Judged(
        target=result.target,
        outcome=result.outcome.value if result.outcome else "",
        sentence=known.sentence if known else "",
        seeds=known.seeds if known else (),
        gain=known.gain if known else None,
        page=(result.folder / "report.html").relative_to(folder).as_posix(),
    )


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
