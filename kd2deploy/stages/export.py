"""export: every variant of the target, made by its converters, scored on the validation rows; one is chosen.

A rounded variant that loses too much is made again with its most harmful operations left in float, one, two, four ...
at a time, until it keeps the student's score or the operations run out.
"""

import hashlib
import importlib
import importlib.util
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.core import Artifact, Features, Feed, Row, Target, Variant
from kd2deploy.errors import ConvertError, MeasureError, SessionError
from kd2deploy.measure.accuracy import Evaluation, score, timing_feeds
from kd2deploy.measure.latency import quick, race
from kd2deploy.measure.timing import Contender
from kd2deploy.resolve import bind
from kd2deploy.stages.job import Job, Model, encoded, for_target

CALIBRATION_ROWS = 128
EXTRAS = {"cpu": "onnxruntime", "gpu": "onnxruntime"}
"""The module that an extra brings, where it has another name."""
EXCLUDED = (1, 2, 4, 8)
"""How many operations the search leaves in float, in this order."""


Ranker = tuple[str, tuple[str, ...]]
RANKERS: Mapping[str, Ranker] = {
    "int8_from_onnx": ("kd2deploy.exporters.quantize.rank_sensitivity", ("mode", "layout", "per_channel")),
    "trt_from_onnx": ("kd2deploy.exporters.tensorrt.rank_half_sensitivity", ()),
    "fp16_from_onnx": ("kd2deploy.exporters.tensorrt.rank_half_sensitivity", ()),
}
"""Converters that round, with the function that ranks their operations by damage and the arguments it shares; the first
that stands in a variant is the one to search."""


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
            "artifact": self.artifact.to_json(),
            "session": dict(self.session),
            "score": self.score,
            "median_ms": self.median_ms,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Exported":
        chain = tuple(Artifact.from_json(one) for one in found["chain"])
        return cls(**{**found, "chain": chain, "artifact": Artifact.from_json(found["artifact"])})


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
    variants = {name: Exported.from_json(one) for name, one in found["variants"].items()}
    return Exports(variants, found["left_out"], found["chosen"], found["why"])


def work(job: Job, student: Model, target: Target, folder: Path) -> Mapping[str, Any]:
    train = encoded(student.task, job.splits.train[:CALIBRATION_ROWS], student.folder)
    samples = timing_feeds(student.task, train, 8, CALIBRATION_ROWS // 8)
    features = encoded(student.task, job.splits.validation, student.folder)
    rows = job.splits.validation
    own = evaluated(Exported("student", (), student.artifact), student, target, features, rows)
    least = least_score(own, target, len(rows))
    made: dict[str, Exported] = {}
    left_out: dict[str, str] = {}
    for at, (name, variant) in enumerate(target.variants.items()):
        job.watcher.advance("variants", at, len(target.variants))
        reason = missing(variant)
        try:
            if reason:
                raise ConvertError(reason)
            one = convert(student, target, name, variant, folder, samples)
            value = evaluated(one, student, target, features, rows)
            if value < least and searched(variant) is not None:
                one, value = with_exclusions(one, student, target, variant, folder, samples, features, rows, least)
            made[name] = replace(one, score=value)
        except (ConvertError, SessionError, MeasureError) as error:
            left_out[name] = str(error)
    if not made:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ConvertError(f"no variant of target {target.name} could be made: {reasons}")
    job.watcher.advance("quick timing", 0, 1)
    feeds = timing_feeds(student.task, features, target.workload.batch, 32)
    timings = race([one.contender for one in made.values()], student.task.spec(), target, feeds, quick())
    for name, timing in timings.items():
        if timing.failure:
            left_out[name] = timing.failure
            del made[name]
        else:
            made[name] = replace(made[name], median_ms=float(np.median(timing.samples_ms)))
    chosen, why = choose(made, least)
    return {
        "variants": {name: one.to_json() for name, one in made.items()},
        "left_out": left_out,
        "chosen": chosen,
        "why": why,
    }


def choose(made: Mapping[str, Exported], least: float) -> tuple[str, str]:
    """The fastest variant whose validation score is at least `least`; where none is, the most accurate."""
    if not made:
        raise ConvertError("no variant could be opened; `kd2deploy doctor` tells which runtimes work here")
    fit = [one for one in made.values() if (one.score or 0.0) >= least]
    lost = [one.name for one in made.values() if one.artifact.precision in ROUNDED and one not in fit]
    advice = f"; {', '.join(lost)} lost too much: a last training with `quantize: int8` may win it back" if lost else ""
    if fit:
        fastest = min(fit, key=lambda one: one.median_ms or 0.0)
        return fastest.name, f"the fastest of {len(fit)} that keep the student's score on the validation rows{advice}"
    kept = max(made.values(), key=lambda one: one.score or 0.0)
    return kept.name, f"no variant keeps the validation score above {least:.4f}; this one keeps most of it{advice}"


def least_score(own: float, target: Target, rows: int) -> float:
    """What a variant must score on the validation rows: a quarter of the gate's drop may go into conversion.

    Never finer than two rows, which is what a sound conversion may flip by chance. The quarter is our choice.
    """
    allowed = target.gates.max_drop / 4 if target.gates.max_drop is not None else 0.0025
    return own - max(allowed, 2 / rows)


def evaluated(one: Exported, model: Model, target: Target, features: Sequence[Features], rows: Sequence[Row]) -> float:
    return evaluation(one, model, target, features, rows).scores.metrics[model.task.metric]


def evaluation(
    one: Exported, model: Model, target: Target, features: Sequence[Features], rows: Sequence[Row]
) -> Evaluation:
    return score(one.contender, model.task, target, features, rows)


def convert(
    model: Model, target: Target, name: str, variant: Variant, folder: Path, samples: Sequence[Feed]
) -> Exported:
    """Apply a variant's converters in order; a conversion that another variant made already is used again.

    Raises ConvertError.
    """
    artifact = model.artifact
    chain: list[Artifact] = []
    done: list[Mapping[str, Any]] = []
    for step in variant.steps:
        done.append(step)
        place = place_of(folder, model.sha256, done)
        record = place / "artifact.json"
        if record.is_file():
            artifact = Artifact.from_json(json.loads(record.read_text()))
            artifact = replace(artifact, path=place / artifact.path)
        else:
            use, faults = bind("converter", step, f"variants.{name}")
            if use is None or faults:
                raise ConvertError("; ".join(str(fault) for fault in faults))
            aside = place.with_name(place.name + ".new")
            clear(aside)
            artifact = use(artifact, model.task, target, aside, samples)
            inside = artifact.path.relative_to(aside)
            (aside / record.name).write_text(json.dumps({**artifact.to_json(), "path": str(inside)}))
            aside.rename(place)
            artifact = replace(artifact, path=place / inside)
        chain.append(artifact)
    return Exported(name, tuple(chain), artifact, variant.session)


def place_of(folder: Path, model_sha256: str, done: Sequence[Mapping[str, Any]]) -> Path:
    """Where in `folder` what the steps `done` make of a network lies: the artifact and its artifact.json.

    A folder that stands there before `convert` comes to it is used as it is.
    """
    mark = hashlib.sha256(json.dumps([model_sha256, *done], sort_keys=True, default=list).encode()).hexdigest()[:8]
    return folder / f"{str(done[-1]['use']).rpartition('.')[2]}-{mark}"


def clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def searched(variant: Variant) -> tuple[int, Ranker] | None:
    """The step whose operations can be left in float, and what ranks them; None where nothing was rounded."""
    names = [str(step["use"]).rpartition(".")[2] for step in variant.steps]
    return next(((names.index(name), ranker) for name, ranker in RANKERS.items() if name in names), None)


def with_exclusions(
    one: Exported,
    model: Model,
    target: Target,
    variant: Variant,
    folder: Path,
    samples: Sequence[Feed],
    features: Sequence[Features],
    rows: Sequence[Row],
    least: float,
) -> tuple[Exported, float]:
    """The variant with as few operations left in float as keep the score, and its score."""
    found = searched(variant)
    assert found is not None
    at, (dotted, arguments) = found
    module, _, name = dotted.rpartition(".")
    step = variant.steps[at]
    source = one.chain[at - 1] if at else model.artifact
    known = {key: step[key] for key in arguments if key in step}
    ranked = getattr(importlib.import_module(module), name)(source, model.task, target, samples, **known)
    tries = [(one, evaluated(one, model, target, features, rows))]
    for count in EXCLUDED:
        if count >= len(ranked):
            break
        less = {**step, "exclude": [node for node, _ in ranked[:count]]}
        again = replace(variant, steps=(*variant.steps[:at], less, *variant.steps[at + 1 :]))
        milder = convert(model, target, one.name, again, folder, samples)
        tries.append((milder, evaluated(milder, model, target, features, rows)))
        if tries[-1][1] >= least:
            break
    return max(tries, key=lambda pair: pair[1])


def missing(variant: Variant) -> str:
    """Why a variant's runtime cannot be used here; empty where it can."""
    module = EXTRAS.get(variant.requires, variant.requires)
    if module and importlib.util.find_spec(module) is None:
        return f"{module} is not installed; pip install 'kd2deploy[{variant.requires}]'"
    return ""


def variants_spec(target: Target) -> dict[str, Any]:
    return {name: {**asdict(variant), "missing": missing(variant)} for name, variant in target.variants.items()}


def export_one(job: Job, model: Model, target: Target, name: str, stage_name: str) -> Exported:
    """One variant of any network, unscored: the teacher as the student is deployed."""
    variant = target.variants[name]
    spec = {"variant": asdict(variant), **for_target(target)}

    def make(folder: Path) -> Mapping[str, Any]:
        train = encoded(model.task, job.splits.train[:CALIBRATION_ROWS], model.folder)
        samples = timing_feeds(model.task, train, 8, CALIBRATION_ROWS // 8)
        return convert(model, target, name, variant, folder, samples).to_json()

    stage = job.run.stage(stage_name, spec, {"model": model.sha256, "data": job.splits.sha256}, make)
    return Exported.from_json(stage.result)
