"""export: every variant of the target, made by its converters, scored on the validation rows; one is chosen."""

import hashlib
import importlib.util
import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.core import Artifact, Features, Feed, Metric, Row, Target, Variant
from kd2deploy.core.artifact import SIDECAR
from kd2deploy.core.watcher import in_hundredths
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters.combinations import TENSORRT_PROVIDERS, refusal
from kd2deploy.exporters.shapes import SCORING_BATCH, axis_ranges
from kd2deploy.measure.accuracy import by_length, score, timing_feeds
from kd2deploy.measure.latency import Means, race
from kd2deploy.measure.protocol import quick
from kd2deploy.measure.timing import Contender
from kd2deploy.recipe.resolve import bind
from kd2deploy.recipe.steps import name_of, traits
from kd2deploy.run import SCRATCH
from kd2deploy.stages.fallback import FAILURES, ranked, with_exclusions
from kd2deploy.stages.job import Job, Model, encoded, for_target, sampled

log = logging.getLogger(__name__)

CALIBRATION_ROWS = 128
EXTRAS = {"cpu": "onnxruntime", "gpu": "onnxruntime"}
"""The module that an extra brings, where it has another name."""
ROUNDED = frozenset({"int8", "fp8"})


@dataclass(frozen=True)
class Exported:
    """One variant, ready to be opened."""

    name: str
    chain: tuple[Artifact, ...]
    """From the first conversion to the last; empty where the network's own folder is what runs."""
    artifact: Artifact
    session: Mapping[str, Any] = field(default_factory=dict)
    score: float | None = None
    """The headline metric on the validation rows."""
    median_ms: float | None = None
    """A quick median, good for choosing and for nothing else."""

    @property
    def contender(self) -> Contender:
        return Contender(self.name, self.artifact, self.session)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "chain": [one.to_json() for one in self.chain],
            "artifact": self.artifact.to_json() if self.chain else None,
            "session": dict(self.session),
            "score": self.score,
            "median_ms": self.median_ms,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any], network: Artifact) -> "Exported":
        """What `to_json` wrote. `network` is what it was made of, which runs as it lies where nothing was converted."""
        chain = tuple(Artifact.from_json(one) for one in found["chain"])
        artifact = Artifact.from_json(found["artifact"]) if chain else network
        return cls(**{**found, "chain": chain, "artifact": artifact})


@dataclass(frozen=True)
class Exports:
    variants: Mapping[str, Exported]
    left_out: Mapping[str, str]
    """Why a variant of the target was not made."""
    chosen: str
    """The fastest that keeps the student's accuracy."""
    why: str


def export(job: Job, student: Model, target: Target) -> Exports:
    """All of the target's variants of a trained student, and the one to deploy."""
    spec = {"variants": variants_spec(target), **for_target(target), "gates": asdict(target.gates)}
    parents = {"student": student.sha256, "data": job.splits.sha256}
    stage = job.run.stage(f"export-{target.name}", spec, parents, lambda folder: work(job, student, target, folder))
    found = stage.result
    variants = {name: Exported.from_json(one, student.artifact) for name, one in found["variants"].items()}
    return Exports(variants, found["left_out"], found["chosen"], found["why"])


@dataclass(frozen=True)
class Bench:
    """What every variant of a target is made of and scored on."""

    model: Model
    target: Target
    folder: Path
    samples: Sequence[Feed]
    """Training rows: what calibrates and checks a conversion."""
    features: Sequence[Features]
    rows: Sequence[Row]

    def made(self, name: str, variant: Variant) -> tuple[Exported, float]:
        """The variant and what its score is worth. Raises ConvertError, SessionError, MeasureError."""
        one = convert(self.model, self.target, name, variant, self.folder, self.samples)
        return one, self.worth(one)

    def worth(self, one: Exported) -> float:
        """Its headline metric on the rows, as a number that is larger where it is better."""
        task = self.model.task
        scratch = self.folder / SCRATCH
        found = score(one.contender, task, self.target, self.features, self.rows, scratch=scratch)
        return task.metric.worth(found.scores.metrics[task.metric.name])

    def ranked(self, name: str, variant: Variant, at: int) -> list[str]:
        """The operations of the variant's step at a place, most harmful first."""
        before = replace(variant, steps=variant.steps[:at])
        source = convert(self.model, self.target, name, before, self.folder, self.samples).artifact
        return ranked(variant.steps[at], source, self.model.task, self.target, self.samples)


def work(job: Job, student: Model, target: Target, folder: Path) -> Mapping[str, Any]:
    bring(job, student, target.variants.values(), folder)
    samples = calibration(job, student)
    features = encoded(student.task, job.splits.validation, student.folder)
    bench = Bench(student, target, folder, samples, features, job.splits.validation)
    least = least_score(bench.worth(Exported("student", (), student.artifact)), target, len(bench.rows))
    variants, reasons = target.variants, {name: unusable(target, one) for name, one in target.variants.items()}
    ranges = request_shapes(job, student, target, [one for name, one in variants.items() if not reasons[name]], samples)
    made: dict[str, Exported] = {}
    left_out: dict[str, str] = {}
    for at, (name, each) in enumerate(variants.items()):
        job.watcher.advance("variants", at, len(variants), name)
        if reasons[name]:
            left_out[name] = reasons[name]
            continue
        variant = shaped(each, ranges)
        try:
            one, value = with_exclusions(
                variant, partial(bench.made, name), partial(bench.ranked, name, variant), least
            )
            made[name] = replace(one, score=student.task.metric.worth(value))
        except FAILURES as error:
            left_out[name] = str(error)
            log.info("%s is left out: %s", name, error)
    if not made:
        said = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ConvertError(f"no variant of target {target.name} could be made: {said}")
    feeds = timing_feeds(student.task, features, target.workload.batch, 32)
    contenders, watched = [one.contender for one in made.values()], in_hundredths(job.watcher, "quick timing")
    timings = race(contenders, student.task.spec(), target, feeds, quick(), watched, Means(folder / SCRATCH))
    for name, timing in timings.items():
        if timing.failure:
            left_out[name] = timing.failure
            del made[name]
        else:
            made[name] = replace(made[name], median_ms=float(np.median(timing.samples_ms)))
    chosen, why = choose(made, least, student.task.metric)
    return {
        "variants": {name: one.to_json() for name, one in made.items()},
        "left_out": left_out,
        "chosen": chosen,
        "why": why,
    }


def choose(made: Mapping[str, Exported], least: float, metric: Metric) -> tuple[str, str]:
    """The fastest variant whose validation score is worth at least `least`; where none is, the most accurate."""
    if not made:
        raise ConvertError("no variant could be opened; `kd2deploy doctor` tells which runtimes work here")
    worth = {name: metric.worth(one.score or 0.0) for name, one in made.items()}
    fit = [one for name, one in made.items() if worth[name] >= least]
    advice = advice_for([one for one in made.values() if one.artifact.precision in ROUNDED and one not in fit])
    if fit:
        fastest = min(fit, key=lambda one: one.median_ms or 0.0)
        return fastest.name, f"the fastest of {len(fit)} that keep the student's score on the validation rows{advice}"
    kept = made[max(made, key=lambda name: worth[name])]
    bound = f"{'above' if metric.higher_is_better else 'below'} {metric.worth(least):.4f}"
    return kept.name, f"no variant keeps the validation score {bound}; this one keeps most of it{advice}"


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


def least_score(own: float, target: Target, rows: int) -> float:
    """What a variant's score on the validation rows must be worth: a quarter of the gate's drop may go into conversion.

    Never finer than two rows, which is what a sound conversion may flip by chance. The quarter is our choice.
    """
    allowed = target.gates.max_drop / 4 if target.gates.max_drop is not None else 0.0025
    return own - max(allowed, 2 / rows)


def convert(
    model: Model,
    target: Target,
    name: str,
    variant: Variant,
    folder: Path,
    samples: Sequence[Feed],
    made_with: str = "",
) -> Exported:
    """Apply a variant's converters in order; a conversion that another variant made already is used again.

    `made_with` tells apart what was made in one folder with other samples or versions. Raises ConvertError.
    """
    artifact = model.artifact
    chain: list[Artifact] = []
    done: list[Mapping[str, Any]] = []
    for step in variant.steps:
        done.append(step)
        place = place_of(folder, model.sha256, done, made_with)
        known = found_at(place)
        if known is not None:
            artifact = known
            log.info("%s: %s is reused from %s", name, name_of(step), place)
        else:
            use, faults = bind("converter", step, f"variants.{name}")
            if use is None or faults:
                raise ConvertError("; ".join(str(fault) for fault in faults))
            aside = place.with_name(place.name + ".new")
            clear(aside)
            artifact = use(artifact, model.task, target, aside, samples)
            if not isinstance(artifact, Artifact):
                raise ConvertError(f"{use.name} returned {type(artifact).__name__}, and a converter returns Artifact")
            inside = artifact.path.relative_to(aside)
            (aside / SIDECAR).write_text(json.dumps({**artifact.to_json(), "path": str(inside)}))
            shutil.rmtree(place, ignore_errors=True)
            aside.rename(place)
            artifact = replace(artifact, path=place / inside)
            log.info("%s: %s made %s", name, name_of(step), artifact.path)
        chain.append(artifact)
    return Exported(name, tuple(chain), artifact, variant.session)


def found_at(place: Path) -> Artifact | None:
    """The conversion that lies there; None where there is none, or not every byte of it."""
    record = place / SIDECAR
    if not record.is_file():
        return None
    found = Artifact.from_json(json.loads(record.read_text()))
    try:
        return replace(found, path=place / found.path).verify()
    except SessionError:
        return None


def place_of(folder: Path, model_sha256: str, done: Sequence[Mapping[str, Any]], made_with: str = "") -> Path:
    """Where in `folder` what the steps `done` make of a network lies: the artifact and its artifact.json.

    A folder that stands there before `convert` comes to it is used as it is.
    """
    made_of = [model_sha256, made_with, *done] if made_with else [model_sha256, *done]
    mark = hashlib.sha256(json.dumps(made_of, sort_keys=True, default=list).encode()).hexdigest()[:8]
    return folder / f"{name_of(done[-1])}-{mark}"


def bring(job: Job, model: Model, variants: Iterable[Variant], folder: Path) -> None:
    """Lay the conversions of this network that a pack brought where `convert` looks for them."""
    if job.graphs is None:
        return
    for variant in variants:
        for count in range(1, len(variant.steps) + 1):
            place = place_of(folder, model.sha256, variant.steps[:count])
            if (job.graphs / place.name).is_dir() and not place.is_dir():
                aside = place.with_name(place.name + ".new")
                shutil.rmtree(aside, ignore_errors=True)
                shutil.copytree(job.graphs / place.name, aside)
                aside.rename(place)


def clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def calibration(job: Job, model: Model) -> list[Feed]:
    train = encoded(model.task, sampled(job.splits.train, CALIBRATION_ROWS), model.folder)
    return timing_feeds(model.task, train, 8, CALIBRATION_ROWS // 8)


def request_shapes(
    job: Job, model: Model, target: Target, variants: Sequence[Variant], samples: Sequence[Feed]
) -> dict[str, list[int]]:
    """Sizes [smallest, usual, largest] of the dynamic axes of the requests that the race is run on.

    Empty where no variant builds for a range of shapes. The bounds hold the samples and the longest batch scored too.
    """
    if not any(builds_for_shapes(variant) for variant in variants):
        return {}
    task, features, batch = model.task, encoded(model.task, job.splits.eval, model.folder), target.workload.batch
    requests = timing_feeds(task, features, batch, target.workload.inputs)
    batches = by_length(task, features, SCORING_BATCH)
    ends = [task.reader.feed([features[place] for place in places]) for places in (batches[0], batches[-1])]
    return {axis: list(sizes) for axis, sizes in axis_ranges(task, requests, batch, [*samples, *ends]).items()}


def builds_for_shapes(variant: Variant) -> bool:
    """Whether a step builds for a range of shapes, or the session does when it opens."""
    return variant.session.get("provider") in TENSORRT_PROVIDERS or any(map(takes_shapes, variant.steps))


def takes_shapes(step: Mapping[str, Any]) -> bool:
    return traits(step).takes_shapes


def shaped(variant: Variant, shapes: Mapping[str, Sequence[int]]) -> Variant:
    """The variant with `shapes` given to the steps or the session that builds for them; its own count before them."""
    steps = tuple(
        {**step, "shapes": {**shapes, **(step.get("shapes") or {})}} if takes_shapes(step) else step
        for step in variant.steps
    )
    session = dict(variant.session)
    if session.get("provider") in TENSORRT_PROVIDERS:
        session["shapes"] = {**shapes, **(session.get("shapes") or {})}
    return replace(variant, steps=steps, session=session)


def missing(variant: Variant) -> str:
    """Why a variant's runtime cannot be used here; empty where it can."""
    module = EXTRAS.get(variant.requires, variant.requires)
    if module and importlib.util.find_spec(module) is None:
        return f"{module} is not installed; pip install 'kd2deploy[{variant.requires}]'"
    return ""


def unusable(target: Target, variant: Variant) -> str:
    """Why a variant is not tried: it makes no sense on the target, or its runtime is not here; empty where it is."""
    return refusal(target, variant) or missing(variant)


def variants_spec(target: Target) -> dict[str, Any]:
    return {
        name: {**asdict(variant), "missing": unusable(target, variant)} for name, variant in target.variants.items()
    }


def export_one(job: Job, model: Model, target: Target, name: str, stage_name: str) -> Exported:
    """One variant of any network, unscored: the teacher as the student is deployed."""
    variant = target.variants[name]
    spec = {"variant": asdict(variant), **for_target(target)}

    def make(folder: Path) -> Mapping[str, Any]:
        bring(job, model, [variant], folder)
        samples = calibration(job, model)
        there = shaped(variant, request_shapes(job, model, target, [variant], samples))
        return convert(model, target, name, there, folder, samples).to_json()

    stage = job.run.stage(stage_name, spec, {"model": model.sha256, "data": job.splits.sha256}, make)
    return Exported.from_json(stage.result, model.artifact)
