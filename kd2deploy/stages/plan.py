"""plan: profile before training. Latency depends on shapes, not on weights.

Candidate students are built with random weights, exported as they would be deployed and timed on the target against the
teacher. Those that cannot pass the speed gate are rejected in seconds; the largest that can is trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter

from kd2deploy.core import Feed, Target, build_task
from kd2deploy.core.estimate import estimate
from kd2deploy.core.figures import as_given, figure
from kd2deploy.core.watcher import Watcher, in_hundredths
from kd2deploy.data.splits import splits_in
from kd2deploy.errors import ConvertError, Fault, RecipeError
from kd2deploy.exporters.combinations import refusal
from kd2deploy.measure.accuracy import timing_feeds
from kd2deploy.measure.latency import Means, race, speedup
from kd2deploy.measure.protocol import quick
from kd2deploy.measure.timing import Contender, Timing
from kd2deploy.recipe import Plan, Shrink, Static, Student
from kd2deploy.report import Candidate, Plain
from kd2deploy.run import SCRATCH, Stage
from kd2deploy.stages.convert import Exported, convert, missing
from kd2deploy.stages.job import Job, Model, encoded, for_target, model_at, parts_of, sampled
from kd2deploy.stages.student import build
from kd2deploy.stages.teacher import Taught
from kd2deploy.stages.training import remove
from kd2deploy.train.shapes import Shape, candidates, shape_label

FEEDS = 32
ROWS = 256
"""Training rows from which requests are drawn."""


@dataclass(frozen=True)
class Planned:
    """The candidates, timed; `chosen` is None where none can pass the speed gate."""

    candidates: tuple[Candidate, ...]
    chosen: Student | None
    variant: str


def plan(job: Job, networks: Taught, target: Target) -> Planned:
    """Time the candidates on the target against the baseline. Raises RecipeError where there is no smaller shape."""
    wanted = job.recipe.student.plan
    assert wanted is not None
    origin, baseline = networks.origin, networks.baseline
    stage = Stage(
        f"plan-{target.name}",
        spec={
            "plan": wanted.model_dump(mode="json"),
            "variants": {name: asdict(target.variants[name]) for name in deployable(wanted, target)},
            "gates": asdict(target.gates),
            "task": job.task.spec(),
            **for_target(target),
        },
        parents={"origin": origin.sha256, "baseline": baseline.sha256, "data": job.splits.sha256},
        work=f"{__name__}.work",
        inputs={
            "origin": origin.to_json(),
            "baseline": baseline.to_json(),
            "data": str(job.place_of(job.splits)),
            "target": asdict(target),
        },
        needs="target",
    )
    done = job.run.carry_out(stage, job.watcher)
    found = TypeAdapter(tuple[Candidate, ...]).validate_python(done.result["candidates"])
    chosen = done.result["chosen"]
    return Planned(found, Student.model_validate(chosen) if chosen else None, done.result["variant"])


def deployable(wanted: Plan, target: Target) -> list[str]:
    """The variants to try candidates as, in order, that can be made here. Raises RecipeError where there is none."""
    if wanted.variant and wanted.variant not in target.variants:
        raise RecipeError([Fault("student.plan.variant", f"{target.name} has {', '.join(target.variants)}")])
    own = [name for name in target.plan if name in target.variants]  # a recipe may have left some of them out
    names = [wanted.variant] if wanted.variant else own or [next(iter(target.variants))]
    reasons = {name: missing(target.variants[name]) or refusal(target, target.variants[name]) for name in names}
    found = [name for name, reason in reasons.items() if not reason]
    if not found:
        raise RecipeError([Fault("student.plan.variant", "; ".join(reasons.values()))])
    return found


def work(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    wanted, target = Plan.model_validate(spec["plan"]), Target.from_json(inputs["target"])
    task, origin = build_task(spec["task"]), Model.from_json(inputs["origin"])
    empty(folder)  # of what a killed attempt left, some may be half deleted
    rows = sampled(splits_in(Path(inputs["data"])).train, ROWS)
    features = encoded(origin.task, rows, origin.folder)
    length = round(float(np.median([origin.task.reader.length(row) for row in features])))
    shapes = candidates(origin.folder, layers=wanted.layers, hidden=wanted.hidden, length=length)
    tried = [*(cut(shape, wanted) for shape in spread(shapes, wanted.candidates)), *map(table, dims(wanted))]
    if not tried:
        raise RecipeError(
            [
                Fault(
                    "student.plan",
                    "finds no shape smaller than the teacher; name `layers` and `hidden`, or use `shrink`",
                )
            ]
        )
    feeds = timing_feeds(origin.task, features, target.workload.batch, FEEDS)
    samples = timing_feeds(origin.task, parts_of(origin.task, features), 8, 8)
    parameters: dict[str, int] = {}
    models: dict[str, Model] = {}
    failed: dict[str, str] = {}
    for at, one in enumerate(tried):
        place = folder / f"untrained-{at}"
        place.mkdir(exist_ok=True)
        try:
            parameters[one.name] = build(task, one.untrained, origin.folder, None, place, seed=0, ready=False)[
                "parameters"
            ]
            models[one.name] = model_at(place / "student", task)
        except ConvertError as error:
            failed[one.name] = str(error)
    for variant in spec["variants"]:
        bench = Bench(target, variant, folder, samples)
        contenders, refused = exported(bench, Model.from_json(inputs["baseline"]), models, tell)
        if len(contenders) > 1:
            break
    failed |= refused
    watched = in_hundredths(tell, "timing")
    timings = race(contenders, origin.task.spec(), target, feeds, quick(), watched, Means(folder / SCRATCH))
    verdicts = [weigh(one, parameters.get(one.name), failed, timings, target, wanted) for one in tried]
    kept = next((at for at, one in enumerate(verdicts) if one.verdict == "kept"), None)
    chosen = None
    if kept is not None:
        verdicts[kept] = chosen_of(verdicts[kept])
        chosen = tried[kept].student.model_dump(mode="json", by_alias=True)
    empty(folder)
    return {"candidates": [asdict(one) for one in verdicts], "chosen": chosen, "variant": variant}


@dataclass(frozen=True)
class Tried:
    """A student that could be trained."""

    name: str
    student: Student
    facts: dict[str, Plain]

    @property
    def untrained(self) -> Student:
        """The same from random weights, which are made faster."""
        if self.student.static is not None:
            return table(self.student.static.dim, "random").student
        assert self.student.shrink is not None
        return Student.model_validate({"shrink": self.student.shrink.model_copy(update={"initialise": "random"})})


def cut(shape: Shape, wanted: Plan) -> Tried:
    """The teacher in another shape."""
    facts: dict[str, Plain] = {
        "layers": str(shape.layers),
        "hidden": str(shape.hidden),
        "heads": shape.heads,
        "feed-forward": str(shape.intermediate),
    }
    shrink = Shrink(**shape_of(shape), keep=wanted.keep, initialise=wanted.initialise)
    return Tried(shape_label(shape), Student.model_validate({"shrink": shrink}), facts)


def table(dim: int, start: Literal["teacher", "random"] = "teacher") -> Tried:
    """Static embeddings: a table of words, and no layer."""
    static = Static.model_validate({"dim": dim, "from": start})
    return Tried(f"static {dim}", Student.model_validate({"static": static}), {"dim": str(dim)})


def dims(wanted: Plan) -> list[int]:
    """Of static embeddings, the largest first, as all candidates are."""
    return sorted(set(wanted.static), reverse=True)


@dataclass(frozen=True)
class Bench:
    """How candidates are made into files."""

    target: Target
    variant: str
    folder: Path
    samples: Sequence[Feed]

    def made(self, model: Model) -> Exported:
        """The network as the variant deploys it. Raises ConvertError."""
        how = self.target.variants[self.variant]
        return convert(model, self.target, self.variant, how, self.folder, self.samples)


def exported(
    bench: Bench, teacher: Model, models: Mapping[str, Model], tell: Watcher
) -> tuple[list[Contender], dict[str, str]]:
    """The teacher, as the gate has it, and the candidates as one variant deploys them; the refused ones by name."""
    same = bench.target.gates.against != "eager"  # one way is tried here, and so is the best of them
    try:
        baseline = bench.made(teacher) if same else None
    except ConvertError as error:
        return [], dict.fromkeys(models, f"the teacher as {bench.variant}: {error}")
    contenders = [
        Contender("teacher", baseline.artifact if baseline else teacher.artifact, baseline.session if baseline else {})
    ]
    refused: dict[str, str] = {}
    for at, (name, model) in enumerate(models.items()):
        tell.advance("candidates", at, len(models), name)
        try:
            one = bench.made(model)
            contenders.append(Contender(name, one.artifact, one.session))
        except ConvertError as error:
            refused[name] = str(error)
    return contenders, refused


def weigh(
    tried: Tried,
    parameters: int | None,
    failed: Mapping[str, str],
    timings: Mapping[str, Timing],
    target: Target,
    wanted: Plan,
) -> Candidate:
    """One candidate's figures, and whether it can pass the gates of speed."""
    name, facts = tried.name, tried.facts
    failure = failed.get(name) or timings[name].failure or timings["teacher"].failure
    if failure:
        return Candidate(name, facts, parameters, verdict="rejected", reason=failure)
    ratio = speedup(timings["teacher"], timings[name]).interval
    typical = float(np.median(timings[name].samples_ms))
    latency = estimate(typical, note="timed quickly in one process: no interval")
    predicted = estimate(ratio.estimate, ratio.low, ratio.high)
    gate, limits = target.gates.min_speedup, [at for at in (target.gates.p50_ms, target.gates.p99_ms) if at is not None]
    needed = gate * wanted.margin if gate is not None else None
    reason = ""
    if needed is not None and ratio.estimate < needed:
        reason = (
            f"{figure(ratio.estimate, 'ratio')}, and {figure(needed, 'ratio')} is needed "
            f"(gate {as_given(gate or 0.0, 'ratio')}x with a margin of {wanted.margin:g})"
        )
    elif limits and typical * wanted.margin > min(limits):
        reason = f"{figure(typical, 'ms')} in the median leaves no margin below {as_given(min(limits), 'ms')} ms"
    return Candidate(name, facts, parameters, latency, predicted, "rejected" if reason else "kept", reason)


def chosen_of(candidate: Candidate) -> Candidate:
    return replace(candidate, verdict="chosen", reason="the largest that clears the speed gate")


def shape_of(shape: Shape) -> dict[str, Any]:
    """The shrinker's arguments as the recipe's `shrink` writes them."""
    found = dict(shape.arguments())
    for tuple_name, scalar in (("depths", "layers"), ("hidden_sizes", "hidden")):
        if isinstance(found.get(scalar), tuple | list):
            found[tuple_name] = list(found.pop(scalar))
    return found


def spread(shapes: list[Shape], most: int) -> list[Shape]:
    """At most `most` of them, evenly over the range from the largest to the smallest."""
    if len(shapes) <= most:
        return shapes
    places = sorted({round(at * (len(shapes) - 1) / max(1, most - 1)) for at in range(most)})
    return [shapes[place] for place in places]


def empty(folder: Path) -> None:
    """The candidates themselves are not kept: only what was measured of them."""
    for inside in folder.iterdir():
        remove(inside)
