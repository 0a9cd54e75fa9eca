"""The whole report of a run that was judged."""

from dataclasses import replace

from kd2deploy.core import Artifact, Target
from kd2deploy.core.members import members_in
from kd2deploy.recipe import Recipe, method_name
from kd2deploy.report import Report
from kd2deploy.stages.export import Exports
from kd2deploy.stages.field import Field
from kd2deploy.stages.job import Job
from kd2deploy.stages.judge import Judged
from kd2deploy.stages.measure import Measured
from kd2deploy.stages.telling.distillation import distillation
from kd2deploy.stages.telling.drops import drop_chain, drop_sentence
from kd2deploy.stages.telling.examples import examples
from kd2deploy.stages.telling.figures import contenders, in_unit, size_unit
from kd2deploy.stages.telling.findings import findings
from kd2deploy.stages.telling.origin import lineage
from kd2deploy.stages.telling.plain import flat
from kd2deploy.stages.telling.protocol import how
from kd2deploy.stages.telling.worth import worth_learning_from


def full_report(
    job: Job, facts: Report, measured: Measured, judged: Judged, exports: Exports, target: Target
) -> Report:
    """`facts`, which are known before the measurement, with all that was measured and judged."""
    field = measured.field
    chain = drop_chain(job.task, field)
    methods = facts.distillation.method if facts.distillation else methods_of(job.recipe)
    return replace(
        facts,
        task=in_unit(job.task_info, size_unit(field.deployed)),
        verdict=judged.verdict,
        contenders=contenders(job.task, field, measured.limits),
        tried=exports.tried,
        speedups=judged.speedups,
        drop_chain=chain,
        class_drops=judged.class_drops,
        examples=examples(field),
        distillation=distillation(job, methods, field),
        lineage=(*job.records, *lineage(field)),
        findings=(
            *findings(field, judged, target, job.recipe.measurement.cap_s),
            *worth_learning_from(facts, field, job.task.metric, target.gates.max_drop),
        ),
        warnings=(*facts.warnings, *measured.notes, drop_sentence(job, field, chain)),
        left_out={**facts.left_out, **exports.left_out, **field.failures},
        machine=flat(measured.machine),
        machine_before=flat(measured.before),
        machine_after=flat(measured.after),
        peaks=measured.limits.peaks if measured.limits is not None else None,
        protocol={
            "deployed": f"{exports.chosen}: {exports.why}",
            "seed of the deployed student": field.deployed.seed,
            **networks_of(field.student.artifact),
            **choices_of(field),
            **how(job.recipe, target, field.deployed.timing),
        },
    )


def networks_of(student: Artifact) -> dict[str, str]:
    """The networks that a student of several consists of, and how their answers become one."""
    how = members_in(student.path)
    if how is None:
        return {}
    shares = (f"{share:g} of {name}" for name, share in zip(how.names, how.weights, strict=True))
    return {"networks of the student": f"{how.combine.replace('_', ' ')}: {', '.join(shares)}"}


def choices_of(field: Field) -> dict[str, float]:
    """What the task chose for teacher and deployed student on the validation rows, such as a threshold."""
    return {
        f"{choice} of the {who}": value
        for who, entry in (("teacher", field.one("teacher")), ("student", field.deployed))
        if entry is not None
        for choice, value in entry.model.task.metric.choices().items()
    }


def methods_of(recipe: Recipe) -> str:
    return ", then ".join(method_name(entry.method) for entry in recipe.distill) or "none"
