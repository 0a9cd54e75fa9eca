"""The pipeline: prepare -> plan -> distill -> export -> measure -> judge -> report and bundle."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from kd2deploy.core import Target
from kd2deploy.core.verdict import EXIT_CODES, Outcome
from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.core.written import aside, put_in_place
from kd2deploy.errors import Fault, RecipeError
from kd2deploy.exporters.combinations import refuse_hopeless
from kd2deploy.flows.pack import Network, device_is_here, write_pack
from kd2deploy.recipe import Recipe
from kd2deploy.report import Report
from kd2deploy.report.notebook import notebook_html
from kd2deploy.report.pages import write_report
from kd2deploy.run import Run, readable_os_errors
from kd2deploy.stages.bundle import bundle
from kd2deploy.stages.contenders import contenders
from kd2deploy.stages.executor import Jobs, executor_for
from kd2deploy.stages.export import export
from kd2deploy.stages.fit import refuse_unfit, refuse_unshared
from kd2deploy.stages.floors import floors
from kd2deploy.stages.job import Job
from kd2deploy.stages.judge import decide
from kd2deploy.stages.kept import forget_cache
from kd2deploy.stages.look import look
from kd2deploy.stages.made_data import with_made_data
from kd2deploy.stages.measure import measure
from kd2deploy.stages.plan import plan
from kd2deploy.stages.prepare import begun
from kd2deploy.stages.show import show
from kd2deploy.stages.student import start
from kd2deploy.stages.students import Trainings, train_all
from kd2deploy.stages.teacher import Taught, teach
from kd2deploy.stages.telling import Sign, described, described_and_refused, full_report, sign, with_training
from kd2deploy.stages.track import tell_verdict
from kd2deploy.train.threads import keep_to_granted_cores

Until = Literal["plan", "distill", "export", "bundle"]


@dataclass(frozen=True)
class Result:
    """What one target came to."""

    target: str
    report: Report
    folder: Path
    """Where report.json, report.html and report.md lie."""
    bundle: Path | None
    students: tuple[Path, ...] = ()
    """The trained students' folders, one per seed."""
    pack: Path | None = None
    """What to take to the target's device, where that is not here."""

    @property
    def outcome(self) -> Outcome | None:
        """None for a run that was asked to stop before the verdict."""
        return self.report.verdict.outcome if self.report.verdict else None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome] if self.outcome else 0

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, the contenders, and where the rest lies."""
        places = {"page": self.folder / "report.html", "bundle": self.bundle, "pack": self.pack}
        return notebook_html(self.report, {what: str(place) for what, place in places.items() if place})


def compress(
    recipe: Recipe,
    folder: Path,
    watcher: Watcher | None = None,
    until: Until = "bundle",
    command: str = "",
    jobs: Jobs = None,
) -> list[Result]:
    """Run a recipe in a folder, once per target; what an earlier run there has done is not done again.

    `jobs` trainings run at a time, each in a process of its own with its part of the threads; left out, one after the
    other, with as many threads each as those that were trained here before.
    Raises Kd2DeployError for whatever is the user's to fix; everything finished by then is kept.
    """
    watcher = watcher or Silent()
    keep_to_granted_cores()
    targets = recipe.resolved_targets()
    refuse_hopeless(targets.values())
    absent = [name for name, target in targets.items() if not device_is_here(target)]
    if absent and recipe.student.plan is not None:
        message = f"times candidates on {absent[0]}, and no such device is here; use `shrink`"
        raise RecipeError([Fault("student.plan", message)])
    run = Run(folder, watcher.stage)
    with readable_os_errors(folder), run.locked():
        started = datetime.now(UTC)
        job = begun(recipe, run, watcher, executor_for(run, jobs))
        refuse_unshared(job)
        if recipe.student.plan is None:
            refuse_unfit(job, recipe.student)
        job = look(job)
        for warning in job.splits.warnings:
            watcher.warn(warning)
        networks = teach(job)
        job = with_made_data(job, networks.teacher)
        if until != "plan":
            job = replace(job, floors=floors(job, networks.origin))
        signed = partial(sign, run=run, command=command, began=started)
        results, common = [], tuple(run.done)
        for target in targets.values():
            run.done = list(common)
            place = folder if len(targets) == 1 else folder / target.name
            place.mkdir(exist_ok=True)
            result = compress_for(job, networks, target, place, until, signed)
            report = signed(result.report)
            write_report(report, place)
            if result.bundle is None and (place / "bundle").exists():
                watcher.warn(
                    f"{place / 'bundle'} is of an earlier run: its own report.json says how it was judged, and the "
                    "report beside it is now this run's, which made no bundle"
                )
            tell_verdict(job.trackers, report, place)
            results.append(replace(result, report=report))
        forget_cache(folder)
    return results


def compress_for(job: Job, networks: Taught, target: Target, place: Path, until: Until, signed: Sign) -> Result:
    planned = plan(job, networks, target) if job.recipe.student.plan is not None else None
    facts = described(job, target, planned)
    if planned is not None and planned.chosen is None:
        return Result(target.name, described_and_refused(facts, target), place, None)
    if until == "plan":
        return Result(target.name, facts, place, None)
    student = job.recipe.student
    if planned is not None and planned.chosen is not None:
        student = planned.chosen
        refuse_unfit(job, student)
    started = start(job, networks.origin, student)
    trainings = train_all(job, started.model, networks.teacher)
    folders = tuple(one.model.folder for one in trainings.students)
    facts = with_training(facts, networks, started, trainings)
    if until == "distill":
        return Result(target.name, facts, place, None, folders)
    if not device_is_here(target):
        put_in_place(packed(job, networks, trainings, target, signed(facts), aside(place / "pack")), place / "pack")
        return Result(target.name, facts, place, None, folders, place / "pack")
    if until == "export":
        exports = export(job, trainings.chosen.model, target)
        return Result(target.name, replace(facts, left_out=exports.left_out), place, None, folders)
    return replace(deploy(job, facts, networks, trainings, target, place, signed), students=folders)


def deploy(
    job: Job, facts: Report, networks: Taught, trainings: Trainings, target: Target, place: Path, signed: Sign
) -> Result:
    """From trained networks to the judged bundle. The report is there before the bundle, which may be refused."""
    exports = export(job, trainings.chosen.model, target)
    measured = measure(job, contenders(job, networks, trainings, exports, target), target)
    judged = decide(job, measured, target)
    facts = replace(facts, shown=show(job, networks, trainings))
    report = signed(full_report(job, facts, measured, judged, exports, target))
    write_report(report, place)
    shipped = bundle(job, report, trainings.chosen, exports, target, place)
    return Result(target.name, report, place, shipped)


def packed(job: Job, begun_with: Taught, trainings: Trainings, target: Target, facts: Report, folder: Path) -> Path:
    """The pack for a device that is not here, in the empty `folder`."""
    known = {"teacher": begun_with.teacher, "baseline": begun_with.apart}
    networks = [Network(role, 0, model) for role, model in known.items() if model is not None]
    networks += [Network("student", one.seed, one.model) for one in trainings.students]
    networks += [Network("control", one.seed, one.model) for one in trainings.controls]
    return write_pack(job, networks, trainings.chosen.seed, target, facts, folder)


def worst(results: Sequence[Result]) -> int:
    """The exit code of a run over several targets: INVALID, then FAIL, then INCONCLUSIVE, then PASS."""
    ranked = (Outcome.INVALID, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)
    found = {result.outcome for result in results}
    first = next((outcome for outcome in ranked if outcome in found), None)
    return EXIT_CODES[first] if first else 0
