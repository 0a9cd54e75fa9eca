"""Who is measured: the teacher as it was, as the student is deployed and as its own best file, students, controls and
every variant.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from kd2deploy.core import Artifact, Target, made
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.measure.timing import Contender
from kd2deploy.report import Role
from kd2deploy.stages.convert import Exported
from kd2deploy.stages.export import Exports, export, export_one
from kd2deploy.stages.field import Entry, Field, Unmade
from kd2deploy.stages.job import Job, Model
from kd2deploy.stages.students import Trainings
from kd2deploy.stages.teacher import Taught
from kd2deploy.stages.variants import stage_label

Who = Literal["teacher", "baseline"]
SAME_RUNTIME: Mapping[Who, Role] = {"teacher": "teacher_same_runtime", "baseline": "baseline_same_runtime"}
BEST_FILE: Mapping[Who, Role] = {"teacher": "teacher_best_file", "baseline": "baseline_best_file"}
WAYS = 3
"""Of so many variants the best is found for what the student is compared with. Ours: each is another conversion of the
larger network, and what is far behind for the student seldom wins there."""


def contenders(job: Job, networks: Taught, trainings: Trainings, exports: Exports, target: Target) -> Field:
    """The field of a run, unmeasured. Other seeds' networks are scored and not timed: their latency is the same. So are
    variants that the choice has dropped: they are slower, or lose too much."""
    chosen, student = exports.variants[exports.chosen], trainings.chosen
    who: Who = "teacher" if networks.apart is None else "baseline"
    entries = [Entry(Contender(f"{who} (eager)", networks.baseline.artifact), networks.baseline, who)]
    files, unmade = baseline_files(job, networks.baseline, who, exports, target)
    entries += files
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


def baseline_files(
    job: Job, network: Model, who: Who, exports: Exports, target: Target
) -> tuple[list[Entry], tuple[Unmade, ...]]:
    """What the student is compared with as the student is deployed, and as its own best file where that is another."""
    chosen, names = exports.chosen, ways(exports, target)
    found: dict[str, Exported] = {}
    lost: Mapping[str, str] = {}
    best = chosen
    try:
        if names == [chosen]:
            found = {chosen: export_one(job, network, target, chosen, f"export-{stage_label(target, who)}")}
        elif names:
            variants = {name: target.variants[name] for name in names}
            own = replace(target, variants=variants, gates=replace(target.gates, min_throughput=None))
            tried = export(job, network, own, who)
            found, lost, best = dict(tried.variants), tried.left_out, tried.chosen
    except (ConvertError, SessionError) as error:
        lost = {chosen: str(error)}
    roles = {chosen: SAME_RUNTIME[who]} if target.variants[chosen].teacher else {}
    roles.setdefault(best, BEST_FILE[who])
    entries = [as_file(f"{who} ({name})", found[name], network, role) for name, role in roles.items() if name in found]
    unmade = tuple(Unmade(f"{who} ({name})", role, lost[name]) for name, role in roles.items() if name in lost)
    return entries, unmade


def ways(exports: Exports, target: Target) -> list[str]:
    """The variants of what the student is compared with: the deployed one, and those that are quickest of the student's
    besides; none that the target says makes no sense."""
    ranked = sorted(exports.variants.values(), key=lambda one: (one.name != exports.chosen, one.median_ms or math.inf))
    return [one.name for one in ranked if target.variants[one.name].teacher][:WAYS]


def as_file(name: str, one: Exported, network: Model, role: Role) -> Entry:
    return Entry(replace(one.contender, name=name), network, role, chain=one.chain)


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
