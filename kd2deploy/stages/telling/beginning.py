"""What is known before anything is measured: the task, the data, the plan's candidates, and how trainings went."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kd2deploy.core import Target
from kd2deploy.core.verdict import Outcome, Verdict
from kd2deploy.data.splits import Splits
from kd2deploy.report import Candidate, DataInfo, Plain, Report
from kd2deploy.report.formats import point
from kd2deploy.run import versions
from kd2deploy.stages.job import Job
from kd2deploy.stages.plan import Planned
from kd2deploy.stages.student import Started
from kd2deploy.stages.students import Trainings
from kd2deploy.stages.teacher import Taught
from kd2deploy.stages.telling.origin import curves, layer_map


def described(job: Job, target: Target, planned: Planned | None = None) -> Report:
    """What is known before anything is trained."""
    task, splits = job.task, job.splits
    return Report(
        title=f"{task.name.replace('_', ' ')} on {target.name}",
        target=target.name,
        target_about=target.about,
        workload=f"batch {target.workload.batch}, inputs drawn from the evaluation set",
        task=job.task_info,
        data=data_of(job, {**labels_of(splits), **splits.details, **answers_of(job)}),
        floors=job.floors,
        candidates=planned.candidates if planned else (),
        versions=versions(),
        seeds=tuple(job.recipe.seeds),
        recipe=job.recipe.to_yaml(),
    )


def labels_of(splits: Splits) -> dict[str, Plain]:
    """Where the labels are: validation rows have theirs too, and cost as much."""
    known = {"validation rows": len(splits.validation)}
    if free := len(splits.unlabelled):
        known = {"training rows with a label": len(splits.labelled), "training rows without": free, **known}
    return {**known}


def answers_of(job: Job) -> dict[str, Plain]:
    """Where a teacher's answers come from that is no network here."""
    return {"the teacher": job.answers.said} if job.answers is not None else {}


def data_of(job: Job, details: Mapping[str, Plain]) -> DataInfo:
    """A run's rows: where they are from, and how many there are."""
    splits = job.splits
    return DataInfo(
        source=job.about,
        train_rows=len(splits.train),
        eval_rows=len(splits.eval),
        overlap=splits.overlap,
        sha256=splits.sha256,
        details=details,
        warnings=tuple(splits.warnings),
    )


def described_and_refused(facts: Report, target: Target) -> Report:
    """The report of a run that trains nothing, since none of the plan's candidates can pass."""
    return replace(facts, verdict=Verdict(Outcome.FAIL, "FAIL: " + nothing_fits(facts.candidates, target)))


def nothing_fits(candidates: Sequence[Candidate], target: Target) -> str:
    """Why no student is trained at all: said in seconds, before any training."""
    timed = [one for one in candidates if one.speedup is not None and one.speedup.value is not None]
    if not timed:
        return "no candidate could be timed: " + "; ".join(f"{one.name}: {one.reason}" for one in candidates)
    fastest = max(timed, key=lambda one: one.speedup.value if one.speedup and one.speedup.value else 0.0)
    return (
        f"no candidate can pass the speed gate of target {target.name}, so none was trained; the fastest, "
        f"{fastest.name}, reaches {point(fastest.speedup, 'ratio')} ({fastest.reason}). "
        "Name smaller `layers` or `hidden` under student.plan, another variant, or a lower gate"
    )


def with_training(facts: Report, taught: Taught, started: Started, trainings: Trainings) -> Report:
    return replace(
        facts,
        curves=curves(taught.trained, (*trainings.students, *trainings.controls)),
        generator=trainings.chosen.generator,
        layer_map=layer_map(started, trainings.chosen),
        warnings=(*facts.warnings, *started.notes, *trainings.chosen.doubts),
    )
