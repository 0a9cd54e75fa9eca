"""Conversions: a target's variant of a network, made by its converters one after the other; each is made once."""

import hashlib
import importlib.util
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kd2deploy.core import Artifact, Feed, Row, Target, Variant
from kd2deploy.core.artifact import SIDECAR
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters.combinations import TENSORRT_PROVIDERS, beyond_processor, refusal
from kd2deploy.exporters.shapes import SCORING_BATCH, axis_ranges
from kd2deploy.measure.accuracy import by_length, timing_feeds
from kd2deploy.measure.timing import Contender
from kd2deploy.recipe.resolve import bind
from kd2deploy.recipe.steps import name_of, traits
from kd2deploy.run import Needs
from kd2deploy.stages.job import Model, encoded, parts_of, sampled

log = logging.getLogger(__name__)

CALIBRATION_ROWS = 128
EXTRAS = {"cpu": "onnxruntime", "gpu": "onnxruntime", "litert": "ai_edge_litert"}
"""The module that an extra brings, where it has another name."""


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


Copy = Callable[[str, str], object]


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

    `made_with` tells apart what was made in one folder with other samples or versions. Raises ConvertError, also
    where a converter's library is not installed.
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
            try:
                artifact = use(artifact, model.task, target, aside, samples)
            except ModuleNotFoundError as error:  # a library that only this way needs; there are others
                raise ConvertError(f"{use.name} needs {error.name}, which is not installed") from error
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


def bring(
    kept: Path | None, model: Model, variants: Iterable[Variant], folder: Path, copy: Copy = shutil.copy2
) -> None:
    """Lay the conversions of this network that lie in `kept` where `convert` looks for them: a pack's, or those that
    variants share."""
    if kept is None:
        return
    for variant in variants:
        for count in range(1, len(variant.steps) + 1):
            place = place_of(folder, model.sha256, variant.steps[:count])
            if (kept / place.name).is_dir() and not place.is_dir():
                aside = place.with_name(place.name + ".new")
                shutil.rmtree(aside, ignore_errors=True)
                shutil.copytree(kept / place.name, aside, copy_function=copy)
                aside.rename(place)


def linked(file: str, to: str) -> None:
    """A second name for a file, or a copy where the file system has none: stages never change what is done."""
    try:
        os.link(file, to)
    except OSError:
        shutil.copy2(file, to)


def clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def calibration(model: Model, rows: Sequence[Row]) -> list[Feed]:
    """Inputs of training rows: what calibrates and checks a conversion."""
    features = parts_of(model.task, encoded(model.task, sampled(rows, CALIBRATION_ROWS), model.folder))
    return timing_feeds(model.task, features, 8, CALIBRATION_ROWS // 8)


def request_shapes(
    model: Model, rows: Sequence[Row], target: Target, variants: Sequence[Variant], samples: Sequence[Feed]
) -> dict[str, list[int]]:
    """Sizes [smallest, usual, largest] of the dynamic axes of the requests that the race is run on: of evaluation rows.

    Empty where no variant builds for a range of shapes. The bounds hold the samples and the longest batch scored too.
    """
    if not any(builds_for_shapes(variant) for variant in variants):
        return {}
    task, features, batch = model.task, encoded(model.task, rows, model.folder), target.workload.batch
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
    """Why a variant's runtime cannot be used here, or this processor does nothing for it; empty where it can."""
    module = EXTRAS.get(variant.requires, variant.requires)
    if module and importlib.util.find_spec(module) is None:
        return f"{module} is not installed; pip install 'kd2deploy[{variant.requires}]'"
    return beyond_processor(variant)


def unusable(target: Target, variant: Variant) -> str:
    """Why a variant is not tried: it makes no sense on the target, or its runtime is not here; empty where it is."""
    return refusal(target, variant) or missing(variant)


def needs_of(target: Target, variants: Iterable[Variant]) -> Needs:
    """What making and scoring variants needs: what runs on the target's device, or measures as it builds, needs that
    alone."""
    bound = any(builds_for_shapes(one) or any(traits(step).on_device for step in one.steps) for one in variants)
    return "target" if bound or target.device == "cuda" else "nothing"
