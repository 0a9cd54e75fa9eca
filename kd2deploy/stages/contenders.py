"""Who is measured: the teacher as it was and as the student is deployed, students, controls and every variant."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from kd2deploy.core import Artifact, Target, made
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.measure.timing import Contender
from kd2deploy.report import Role
from kd2deploy.stages.convert import Exported
from kd2deploy.stages.export import Exports, export_one
from kd2deploy.stages.field import Entry, Field, Unmade
from kd2deploy.stages.job import Job, Model
from kd2deploy.stages.students import Trainings
from kd2deploy.stages.teacher import Taught


def contenders(job: Job, networks: Taught, trainings: Trainings, exports: Exports, target: Target) -> Field:
    """The field of a run, unmeasured. Other seeds' networks are scored and not timed: their latency is the same. So are
    variants that the choice has dropped: they are slower, or lose too much."""
    chosen, student = exports.variants[exports.chosen], trainings.chosen
    entries: list[Entry] = []
    unmade: tuple[Unmade, ...] = ()
    who: Literal["teacher", "baseline"] = "teacher" if networks.apart is None else "baseline"
    same: Role = "teacher_same_runtime" if who == "teacher" else "baseline_same_runtime"
    entries.append(Entry(Contender(f"{who} (eager)", networks.baseline.artifact), networks.baseline, who))
    if target.variants[chosen.name].teacher:
        name, stage = f"{who} ({chosen.name})", f"export-{who}-{target.name}"
        try:
            made = export_one(job, networks.baseline, target, chosen.name, stage)
            entries.append(Entry(replace(made.contender, name=name), networks.baseline, same, chain=made.chain))
        except (ConvertError, SessionError) as error:
            unmade = (Unmade(name, same, str(error)),)
    if networks.teacher is not None and networks.apart is not None:  # what the students learn from, and no more
        teacher = networks.teacher
        entries.append(Entry(Contender("teacher (eager)", teacher.artifact), teacher, "teacher", timed=False))
    if job.answers is not None and job.answers.judged is not None:
        entries.append(by_its_answers(job, job.answers.judged))
    entries.append(as_trained("student (eager)", student.model, "student", student.seed))
    for one in trainings.students:
        if one is not student:
            entries.append(as_trained(f"student (seed {one.seed})", one.model, "student", one.seed, timed=False))
    for one in trainings.controls:
        name = "control" if one.seed == student.seed else f"control (seed {one.seed})"
        entries.append(as_trained(name, one.model, "control", one.seed, timed=False))
    for name, variant in exports.variants.items():
        entries.append(
            Entry(
                variant.contender,
                student.model,
                "variant",
                student.seed,
                variant.chain,
                deployed=variant is chosen,
                timed=name not in exports.dropped,
            )
        )
    entries += links(chosen, student.model, student.seed, entries)
    return Field(tuple(entries), unmade)


def as_trained(name: str, model: Model, role: Role, seed: int, timed: bool = True) -> Entry:
    """A network as PyTorch runs it."""
    return Entry(Contender(name, model.artifact), model, role, seed, timed=timed)


def by_its_answers(job: Job, answers: Path) -> Entry:
    """A teacher that is no network here: scored, and never run."""
    artifact = made(answers, "", made_by="answers")
    return Entry(
        Contender("teacher (answers)", artifact), Model(answers, artifact.sha256, job.task), "teacher", timed=False
    )


def links(deployed: Exported, student: Model, seed: int, entries: list[Entry]) -> list[Entry]:
    """What the deployed file was made from and no entry is yet: scored, to show where the score drops."""
    known = {entry.artifact.sha256 for entry in entries}
    chain = deployed.chain
    return [
        Entry(
            Contender(step_name(deployed.name, one), one, opened(deployed, one)),
            student,
            "link",
            seed,
            chain[: at + 1],
            timed=False,
        )
        for at, one in enumerate(chain[:-1])
        if one.sha256 not in known
    ]


def opened(deployed: Exported, artifact: Artifact) -> dict[str, object]:
    """The deployed file's own session arguments, where the same session opens both."""
    return dict(deployed.session) if artifact.opened_by == deployed.artifact.opened_by else {}


def step_name(variant: str, artifact: Artifact) -> str:
    """A file on the way to a variant, by what made it."""
    return f"{variant} / {artifact.made_by.rpartition('.')[2]}"
