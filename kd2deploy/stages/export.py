"""export: every variant of the target, made by its converters, scored on the validation rows; one is chosen.

What several variants are made of is made first, once. Then each variant is a stage of its own, and those that do not
depend on each other may be made side by side. Only once all are there are they timed, alone: those that keep the score,
by successive halving.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from kd2deploy.core import Artifact, Metric, Target
from kd2deploy.core.tried import Sought, Tried
from kd2deploy.core.watcher import Watcher, in_hundredths
from kd2deploy.data.splits import splits_in
from kd2deploy.errors import ConvertError
from kd2deploy.measure.accuracy import timing_feeds
from kd2deploy.measure.choosing import Halving, fastest_of
from kd2deploy.measure.latency import Means
from kd2deploy.measure.protocol import LAST_S, last_race
from kd2deploy.run import SCRATCH, Stage
from kd2deploy.stages.convert import Exported, bring, calibration, convert, needs_of, request_shapes, shaped, unusable
from kd2deploy.stages.job import Job, Model, encoded, for_target
from kd2deploy.stages.variants import made_variants, stage_label

ROUNDED = frozenset({"int8", "fp8"})
FEEDS = 32
"""Requests of the quick timing."""


@dataclass(frozen=True)
class Exports:
    variants: Mapping[str, Exported]
    """All that could be made and opened, in the target's order."""
    left_out: Mapping[str, str]
    """Why a variant of the target was not made."""
    chosen: str
    """The fastest that keeps the student's accuracy."""
    why: str
    tried: tuple[Tried, ...] = ()
    """All of the target's variants, and how far each came."""

    @property
    def dropped(self) -> frozenset[str]:
        """Who is not worth a place in the race that is judged."""
        return frozenset(one.name for one in self.tried if one.fate not in ("deployed", "raced"))


def export(job: Job, student: Model, target: Target, who: str = "") -> Exports:
    """All of the target's variants of a trained student, and the one to deploy. Raises ConvertError.

    `who` names another network, such as the teacher: no variant of it is searched for what to leave in float, and which
    of its near-equal ones is taken the quick rounds say.
    """
    reasons = {name: unusable(target, one) for name, one in target.variants.items()}
    usable = {name: one for name, one in target.variants.items() if not reasons[name]}
    made, failed, least = made_variants(job, student, target, usable, who) if usable else ({}, {}, 0.0)
    left_out = {name: reasons[name] or failed[name] for name in target.variants if reasons[name] or name in failed}
    if not made:
        said = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ConvertError(f"no variant of target {target.name} could be made: {said}")
    stage = Stage(
        f"export-{stage_label(target, who)}",
        spec={
            "variants": {name: [one.artifact.sha256, dict(one.session), one.score] for name, one in made.items()},
            "least": least,
            "sought": target.gates.sought,
            "least_rows_per_s": target.gates.min_throughput,
            "cap_s": min(LAST_S, job.recipe.measurement.cap_s),
            "places": 1 if who else Halving.places,
            "task": student.task.spec(),
            **for_target(target),
        },
        parents={"student": student.sha256, "data": job.learnt.sha256},
        work=f"{__name__}.timed_and_chosen",
        inputs={
            "variants": {name: one.to_json() for name, one in made.items()},
            "student": student.to_json(),
            "data": str(job.place_of(job.learnt)),
            "target": asdict(target),
        },
        needs="target",
    )
    found = job.run.carry_out(stage, job.watcher).result
    tried = TypeAdapter(tuple[Tried, ...]).validate_python(found["tried"])
    left_out |= {one.name: one.reason for one in tried if one.fate == "left_out"}
    medians = {one.name: one.median_ms for one in tried}
    variants = {name: replace(one, median_ms=medians[name]) for name, one in made.items() if name not in left_out}
    never = [Tried(name, "left_out", reason=reason) for name, reason in left_out.items() if name not in made]
    return Exports(variants, left_out, found["chosen"], found["why"], in_order(target, (*tried, *never)))


def in_order(target: Target, tried: Sequence[Tried]) -> tuple[Tried, ...]:
    """What was tried, in the order of the target's variants."""
    known = {one.name: one for one in tried}
    return tuple(known[name] for name in target.variants)


def timed_and_chosen(
    spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher
) -> Mapping[str, Any]:
    """How far each variant came, and the one to deploy. Raises ConvertError where none opens."""
    student, target = Model.from_json(inputs["student"]), Target.from_json(inputs["target"])
    features = encoded(student.task, splits_in(Path(inputs["data"])).validation, student.folder)
    made = {name: Exported.from_json(one, student.artifact) for name, one in inputs["variants"].items()}
    feeds = timing_feeds(student.task, features, target.workload.batch, FEEDS)
    plan = Halving(
        sought=spec["sought"],
        least_rows_per_s=spec["least_rows_per_s"],
        last=last_race(spec["cap_s"]),
        places=spec["places"],
    )
    watched, means = in_hundredths(tell, "quick timing"), Means(folder / SCRATCH)
    found: dict[str, Tried] = {}
    for group in by_worth(made, spec["least"], student.task.metric):
        contenders = [made[name].contender for name in group]
        found |= fastest_of(contenders, student.task.spec(), target, feeds, plan, watched, means)
        if any(one.fate == "deployed" for one in found.values()):
            break
    tried = {name: found.get(name, Tried(name, "inaccurate")) for name in made}
    tried = {
        name: replace(one, precision=made[name].artifact.precision, score=made[name].score)
        for name, one in tried.items()
    }
    chosen, why = told(made, tried, spec["least"], student.task.metric, spec["sought"])
    return {"tried": [asdict(one) for one in tried.values()], "chosen": chosen, "why": why}


def by_worth(made: Mapping[str, Exported], least: float, metric: Metric) -> list[list[str]]:
    """Who is timed together: all whose validation score is worth at least `least`. Where none of them opens, the others
    one after the other, the most accurate first."""
    worth = {name: metric.worth(one.score or 0.0) for name, one in made.items()}
    fit = [name for name in made if worth[name] >= least]
    others = sorted((name for name in made if name not in fit), key=lambda name: -worth[name])
    return [*([fit] if fit else []), *([name] for name in others)]


def told(
    made: Mapping[str, Exported], tried: Mapping[str, Tried], least: float, metric: Metric, sought: Sought = "latency"
) -> tuple[str, str]:
    """The variant to deploy and why it is that one. Raises ConvertError where none opened."""
    chosen = next((name for name, one in tried.items() if one.fate == "deployed"), None)
    if chosen is None:
        said = "; ".join(f"{name}: {one.reason}" for name, one in tried.items())
        raise ConvertError(f"no variant could be opened; `kd2deploy doctor` tells which runtimes work here ({said})")
    fit = [name for name, one in made.items() if metric.worth(one.score or 0.0) >= least]
    advice = advice_for([one for name, one in made.items() if one.artifact.precision in ROUNDED and name not in fit])
    if chosen not in fit:
        bound = f"{'above' if metric.higher_is_better else 'below'} {metric.worth(least):.4f}"
        return chosen, f"no variant keeps the validation score {bound}; this one keeps most of it{advice}"
    opened = [name for name in fit if tried[name].fate != "left_out"]
    best = "the fastest" if sought == "latency" else "the most rows per second"
    kept = f"{best} of {len(opened)} that keep the student's score on the validation rows"
    return chosen, kept + narrowed([tried[name] for name in opened]) + advice


def narrowed(tried: Sequence[Tried]) -> str:
    """How many quick timings left over for the last race, in words; empty where there was no choice."""
    quick = sum(one.fate in ("slower", "crowded_out") for one in tried)
    if not quick:
        return ""
    if quick == len(tried) - 1:
        return f"; quick timings dropped {'the other' if quick == 1 else f'the other {quick}'}"
    return f"; quick timings dropped {quick}, and a race decided between {len(tried) - quick}"


def advice_for(lost: Sequence[Exported]) -> str:
    """What may win back what rounding to 8 bits lost: a training that rounds as the variants do."""
    if not lost:
        return ""
    symmetric = all(layout_of(one.artifact) == "tensorrt" for one in lost)
    names, kind = ", ".join(one.name for one in lost), "int8_symmetric" if symmetric else "int8"
    return f"; {names} lost too much: a last training with `quantize: {kind}` may win it back"


def layout_of(artifact: Artifact) -> str:
    """How the 8-bit pairs lie in a graph, or in the graph that an engine was built of; empty where there are none."""
    return str({**artifact.details, **artifact.details.get("from", {})}.get("layout", ""))


def export_one(job: Job, model: Model, target: Target, name: str, stage_name: str) -> Exported:
    """One variant of any network, unscored: the teacher as the student is deployed. Raises ConvertError."""
    variant = target.variants[name]
    stage = Stage(
        stage_name,
        spec={"variant": asdict(variant), "task": model.task.spec(), **for_target(target)},
        parents={"model": model.sha256, "data": job.learnt.sha256},
        work=f"{__name__}.made_alone",
        inputs={
            "name": name,
            "model": model.to_json(),
            "data": str(job.place_of(job.learnt)),
            "target": asdict(target),
            "graphs": str(job.graphs) if job.graphs is not None else None,
        },
        needs=needs_of(target, [variant]),
    )
    return Exported.from_json(job.run.carry_out(stage, job.watcher).result, model.artifact)


def made_alone(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """The work of `export_one`."""
    model, target, splits = (
        Model.from_json(inputs["model"]),
        Target.from_json(inputs["target"]),
        splits_in(Path(inputs["data"])),
    )
    variant = target.variants[inputs["name"]]
    bring(Path(inputs["graphs"]) if inputs["graphs"] else None, model, [variant], folder)
    samples = calibration(model, splits.train)
    there = shaped(variant, request_shapes(model, splits.eval, target, [variant], samples))
    return convert(model, target, inputs["name"], there, folder, samples).to_json()
