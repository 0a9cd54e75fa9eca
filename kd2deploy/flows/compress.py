"""The pipeline: prepare -> plan -> distill -> export -> measure -> judge -> report and bundle."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from kd2deploy.core import Target
from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.core.written import aside, put_in_place, write_text
from kd2deploy.errors import ConvertError, Fault, RecipeError, SessionError
from kd2deploy.exporters.combinations import refuse_hopeless
from kd2deploy.flows.pack import Network, device_is_here, write_pack
from kd2deploy.measure.timing import Contender as TimedContender
from kd2deploy.measure.verdict import EXIT_CODES, Outcome
from kd2deploy.recipe import Recipe
from kd2deploy.report import Candidate, DataInfo, Report, StageTime, Verdict, render_html, render_markdown
from kd2deploy.report.notebook import notebook_html
from kd2deploy.run import Run, readable_os_errors, versions
from kd2deploy.stages import brought, judge, origin, told
from kd2deploy.stages.bundle import bundle
from kd2deploy.stages.distill import Distilled, best, forget_cache, train
from kd2deploy.stages.export import Exports, export, export_one
from kd2deploy.stages.findings import findings
from kd2deploy.stages.fit import refuse_unfit
from kd2deploy.stages.job import Job, Model
from kd2deploy.stages.look import look
from kd2deploy.stages.measure import Entry, Measured, links, measure
from kd2deploy.stages.plan import Planned, plan
from kd2deploy.stages.prepare import prepare
from kd2deploy.stages.protocol import how
from kd2deploy.stages.student import Started, start
from kd2deploy.stages.teacher import Taught, teach
from kd2deploy.stages.track import tell_verdict
from kd2deploy.train.threads import keep_to_granted_cores

Until = Literal["plan", "distill", "export", "bundle"]
Sign = Callable[[Report], Report]
"""Says on a report how it was made: the command, the times and the stages."""


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
        return Outcome(self.report.verdict.outcome) if self.report.verdict else None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome] if self.outcome else 0

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, the contenders, and where the rest lies."""
        places = {"page": self.folder / "report.html", "bundle": self.bundle, "pack": self.pack}
        return notebook_html(self.report, {what: str(place) for what, place in places.items() if place})


@dataclass(frozen=True)
class Trainings:
    """Every student and control, and the one that is deployed."""

    students: tuple[Distilled, ...]
    controls: tuple[Distilled, ...]
    chosen: Distilled
    control: Distilled | None


def compress(
    recipe: Recipe, folder: Path, watcher: Watcher | None = None, until: Until = "bundle", command: str = ""
) -> list[Result]:
    """Run a recipe in a folder, once per target; what an earlier run there has done is not done again.

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
        task, splits, about = prepare(recipe)
        job = Job(recipe, run, watcher, splits, task, about)
        if recipe.student.plan is None:
            refuse_unfit(job, recipe.student.shrink)
        job = look(job)
        for warning in job.splits.warnings:
            watcher.warn(warning)
        taught = teach(job)
        signed = partial(sign, run=run, command=command, began=started)
        results = []
        for target in targets.values():
            run.done = [stage for stage in run.done if stage.name in ("look", "teacher")]
            place = folder if len(targets) == 1 else folder / target.name
            place.mkdir(exist_ok=True)
            result = compress_for(job, taught, target, place, until, signed)
            report = signed(result.report)
            write(report, place)
            tell_verdict(job.trackers, report, place)
            results.append(replace(result, report=report))
        forget_cache(folder)
    return results


def compress_for(job: Job, taught: Taught, target: Target, place: Path, until: Until, signed: Sign) -> Result:
    teacher = taught.model
    planned = plan(job, teacher, target) if job.recipe.student.plan is not None else None
    facts = described(job, target, planned)
    if planned is not None and planned.chosen is None:
        verdict = Verdict("FAIL", "FAIL: " + nothing_fits(planned.candidates, target))
        return Result(target.name, replace(facts, verdict=verdict), place, None)
    if until == "plan":
        return Result(target.name, facts, place, None)
    if planned is not None:
        refuse_unfit(job, planned.chosen)
    started = start(job, teacher, planned.chosen if planned else job.recipe.student.shrink)
    trainings = train_all(job, started.model, teacher)
    folders = tuple(one.model.folder for one in trainings.students)
    facts = with_training(facts, taught, started, trainings)
    if until == "distill":
        return Result(target.name, facts, place, None, folders)
    if not device_is_here(target):
        put_in_place(packed(job, teacher, trainings, target, signed(facts), aside(place / "pack")), place / "pack")
        return Result(target.name, facts, place, None, folders, place / "pack")
    if until == "export":
        exports = export(job, trainings.chosen.model, target)
        return Result(target.name, replace(facts, left_out=exports.left_out), place, None, folders)
    return replace(deploy(job, facts, teacher, trainings, target, place, signed), students=folders)


def deploy(
    job: Job, facts: Report, teacher: Model, trainings: Trainings, target: Target, place: Path, signed: Sign
) -> Result:
    """From trained networks to the judged bundle. The report is there before the bundle, which may be refused."""
    exports = export(job, trainings.chosen.model, target)
    facts = replace(facts, left_out={**facts.left_out, **exports.left_out})
    entries, names = field_of(job, teacher, trainings, exports, target)
    measured = measure(job, entries, target)
    report = signed(full_report(job, facts, measured, entries, names, exports, trainings, target))
    write(report, place)
    shipped = bundle(job, report, trainings.chosen, exports, target, place)
    return Result(target.name, report, place, shipped)


def sign(report: Report, run: Run, command: str, began: datetime, before: Sequence[StageTime] = ()) -> Report:
    """The report with how it was made; `before` are the stages of an earlier run that this one goes on from."""
    return replace(
        report,
        command=command or shlex.join(sys.argv),
        started=began.isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        stages=(*before, *(StageTime(stage.name, stage.seconds, stage.reused) for stage in run.done)),
    )


def with_training(facts: Report, taught: Taught, started: Started, trainings: Trainings) -> Report:
    return replace(
        facts,
        curves=origin.curves(taught.trained, (*trainings.students, *trainings.controls)),
        generator=trainings.chosen.generator,
        layer_map=origin.layer_map(started, trainings.chosen),
        warnings=(*facts.warnings, *started.notes),
    )


def train_all(job: Job, start: Model, teacher: Model) -> Trainings:
    students = [train(job, "student", seed, start, teacher) for seed in job.recipe.seeds]
    controls = [train(job, "control", seed, start, teacher) for seed in job.recipe.seeds] if job.recipe.control else []
    chosen = best(students)
    control = next((one for one in controls if one.seed == chosen.seed), None)
    return Trainings(tuple(students), tuple(controls), chosen, control)


def packed(job: Job, teacher: Model, trainings: Trainings, target: Target, facts: Report, folder: Path) -> Path:
    """The pack for a device that is not here, in the empty `folder`."""
    networks = [Network("teacher", 0, teacher)]
    networks += [Network("student", one.seed, one.model) for one in trainings.students]
    networks += [Network("control", one.seed, one.model) for one in trainings.controls]
    return write_pack(job, networks, trainings.chosen.seed, target, facts, folder)


def field_of(
    job: Job, teacher: Model, trainings: Trainings, exports: Exports, target: Target
) -> tuple[list[Entry], judge.Names]:
    """Who is measured: the teacher as it was and as the student is deployed, students, controls, every variant."""
    chosen = exports.variants[exports.chosen]
    student, control = trainings.chosen, trainings.control
    entries = [Entry(eager("teacher (eager)", teacher), teacher, "teacher")]
    same = f"teacher ({exports.chosen})" if target.variants[exports.chosen].teacher else None
    unmade: dict[str, str] = {}
    if same is not None:
        try:
            made = export_one(job, teacher, target, exports.chosen, f"export-teacher-{target.name}")
            entries.append(Entry(replace(made.contender, name=same), teacher, "teacher_same_runtime"))
        except (ConvertError, SessionError) as error:
            unmade[same] = str(error)
    entries.append(Entry(eager("student (eager)", student.model), student.model, "student"))
    for one in trainings.students:
        if one is not student:
            entries.append(Entry(eager(f"student (seed {one.seed})", one.model), one.model, "variant", timed=False))
    for one in trainings.controls:
        name = "control" if one is control else f"control (seed {one.seed})"
        # Its network is the student's, and so is its latency.
        entries.append(Entry(eager(name, one.model), one.model, "control", timed=False))
    entries += [Entry(one.contender, student.model, "variant") for one in exports.variants.values()]
    between = links(chosen, student.model, entries)
    entries += [entry for entry in between if entry not in entries]
    names = judge.Names(
        teacher="teacher (eager)",
        teacher_same=same,
        control="control" if control else None,
        student="student (eager)",
        deployed=chosen.name,
        between=tuple(entry.name for entry in between),
        unmade=unmade,
    )
    return entries, names


def eager(name: str, model: Model) -> TimedContender:
    return TimedContender(name, model.artifact)


def full_report(
    job: Job,
    facts: Report,
    measured: Measured,
    entries: Sequence[Entry],
    names: judge.Names,
    exports: Exports,
    trainings: Trainings,
    target: Target,
) -> Report:
    deployed = exports.variants[exports.chosen].artifact
    made = (trainings.chosen.model.artifact, *exports.variants[exports.chosen].chain)
    chain = told.drop_chain(job, measured, names, measured.scores)
    order = {one.seed: one for one in trainings.students}
    students = [entry for seed in order for entry in entries if entry.model is order[seed].model and is_eager(entry)]
    controls = [entry for one in trainings.controls for entry in entries if entry.model is one.model]
    gap = brought.gap_over_seeds_or_examples(job, measured, names, names.deployed, students, controls)
    judged = judge.decide(job, measured, names, made, target, gap)
    methods = facts.distillation.method if facts.distillation else methods_of(job.recipe)
    return replace(
        facts,
        verdict=told.verdict_shown(judged.verdict),
        contenders=told.contenders(job, measured, entries, names),
        speedups=told.speedups(judged),
        drop_chain=chain,
        class_drops=told.class_drops(judged),
        distillation=brought.distillation(job, methods, measured, names, students, controls),
        lineage=origin.lineage(entries, exports, names),
        findings=findings(measured, judged, names, target, deployed, job.recipe.measurement.cap_s),
        warnings=(*facts.warnings, *measured.notes, told.drop_sentence(job, measured, names, chain)),
        left_out={**facts.left_out, **names.unmade, **measured.failures},
        machine=flat(measured.machine),
        machine_before=flat(measured.before),
        machine_after=flat(measured.after),
        protocol={
            "deployed": f"{exports.chosen}: {exports.why}",
            "seed of the deployed student": trainings.chosen.seed,
            **choices_of(entries, names),
            **how(job.recipe, target, measured.timings.get(names.deployed)),
        },
    )


def choices_of(entries: Sequence[Entry], names: judge.Names) -> dict[str, float]:
    """What the task chose for teacher and deployed student on the validation rows, such as a threshold."""
    return {
        f"{choice} of the {who}": value
        for who, name in (("teacher", names.teacher), ("student", names.deployed))
        for entry in entries
        if entry.name == name
        for choice, value in entry.model.task.choices().items()
    }


def is_eager(entry: Entry) -> bool:
    return entry.contender.name.startswith("student (")


def described(job: Job, target: Target, planned: Planned | None) -> Report:
    """What is known before anything is trained."""
    candidates: tuple[Candidate, ...] = planned.candidates if planned else ()
    task, splits = job.task, job.splits
    return Report(
        title=f"{task.name.replace('_', ' ')} on {target.name}",
        target=target.name,
        target_about=target.about,
        workload=f"batch {target.workload.batch}, inputs drawn from the evaluation set",
        task=job.task_info,
        data=DataInfo(
            source=job.about,
            train_rows=len(splits.train),
            eval_rows=len(splits.eval),
            overlap=splits.overlap,
            sha256=splits.sha256,
            details={"validation rows": len(splits.validation), **splits.details},
            warnings=tuple(splits.warnings),
        ),
        candidates=candidates,
        versions=versions(),
        seeds=tuple(job.recipe.seeds),
        recipe=job.recipe.to_yaml(),
    )


def nothing_fits(candidates: Sequence[Candidate], target: Target) -> str:
    """Why no student is trained at all: said in seconds, before any training."""
    timed = [one for one in candidates if one.speedup is not None and one.speedup.value is not None]
    if not timed:
        return "no candidate could be timed: " + "; ".join(f"{one.name}: {one.reason}" for one in candidates)
    fastest = max(timed, key=lambda one: one.speedup.value if one.speedup and one.speedup.value else 0.0)
    return (
        f"no candidate can pass the speed gate of target {target.name}, so none was trained; the fastest, "
        f"{fastest.name}, reaches {fastest.speedup.value if fastest.speedup else 0:.2f}x ({fastest.reason}). "
        "Name smaller `layers` or `hidden` under student.plan, another variant, or a lower gate"
    )


def methods_of(recipe: Recipe) -> str:
    return ", then ".join(method_name(entry.method) for entry in recipe.distill)


def method_name(method: object) -> str:
    if isinstance(method, Mapping):
        return str(method["use"])
    if isinstance(method, list):
        return " + ".join(method_name(one) for one in method)
    return str(method)


def flat(found: Mapping[str, object]) -> dict[str, str | int | float | bool | None]:
    return {key: origin.plain(value) for key, value in found.items() if value not in (None, (), [], {}, "")}


def write(report: Report, folder: Path) -> None:
    """report.json first; the pages are rendered from it. Each is the old or the new one, should a kill come between."""
    report.write(folder / "report.json")
    write_text(folder / "report.html", render_html(report))
    write_text(folder / "report.md", render_markdown(report))


def worst(results: Sequence[Result]) -> int:
    """The exit code of a run over several targets: INVALID, then FAIL, then INCONCLUSIVE, then PASS."""
    ranked = (Outcome.INVALID, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)
    found = {result.outcome for result in results}
    first = next((outcome for outcome in ranked if outcome in found), None)
    return EXIT_CODES[first] if first else 0
