"""variants: a target's variants of one network made and scored, each once, side by side where nothing binds them.

Variants whose rounding may have to be searched from the same file on are one family, made in one stage, since they
share what the search tries. What several families begin with is made before all of them.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from kd2deploy.core import Features, Feed, Row, Target, Variant
from kd2deploy.core.watcher import Watcher
from kd2deploy.data.splits import splits_in
from kd2deploy.measure.accuracy import score
from kd2deploy.run import SCRATCH, Stage
from kd2deploy.stages.convert import Exported, bring, calibration, convert, linked, needs_of, request_shapes, shaped
from kd2deploy.stages.fallback import FAILURES, ranked, searched, with_exclusions
from kd2deploy.stages.job import Job, Model, encoded, for_target

log = logging.getLogger(__name__)

Variants = Mapping[str, Variant]


def made_variants(
    job: Job, network: Model, target: Target, variants: Variants, who: str = ""
) -> tuple[dict[str, Exported], dict[str, str], float]:
    """The variants in their order with their scores, why others were left out, and what a score must be worth to be
    kept.

    `who` is named where the network is not the student: then what loses too much is left as it is, without a search.
    """
    label = stage_label(target, who)
    inputs = {
        "network": network.to_json(),
        "data": str(job.place_of(job.learnt)),
        "target": asdict(target),
        "graphs": str(job.graphs) if job.graphs is not None else None,
    }
    parents = {"network": network.sha256, "data": job.learnt.sha256}
    known = {"task": network.task.spec(), **for_target(target)}
    first = job.run.carry_out(
        Stage(
            f"convert-{label}",
            spec={"variants": {name: asdict(one) for name, one in variants.items()}, **known},
            parents=parents,
            work=f"{__name__}.shared",
            inputs=inputs,
            needs=needs_of(target, variants.values()),
        ),
        job.watcher,
    )
    least = least_score(first.result["worth"], target, len(job.splits.validation))
    wanted = {name: shaped(one, first.result["shapes"]) for name, one in variants.items()}
    stages = [
        Stage(
            f"convert-{label}-{next(iter(family))}",
            spec={
                "variants": {name: asdict(one) for name, one in family.items()},
                "least": None if who else least,
                **known,
                **job.divided,
            },
            parents={**parents, "shared": first.sha256},
            work=f"{__name__}.made_and_scored",
            inputs={**inputs, "shared": str(first.folder)},
            needs=needs_of(target, family.values()),
        )
        for family in families(wanted)
    ]
    found: dict[str, Exported] = {}
    failed: dict[str, str] = {}
    for done in job.executor.map(job.run, stages, job.watcher):
        failed |= done.result["left_out"]
        found |= {name: Exported.from_json(one, network.artifact) for name, one in done.result["variants"].items()}
    return {name: found[name] for name in variants if name in found}, failed, least


def stage_label(target: Target, who: str) -> str:
    """What the stages of a network's exports are called after."""
    return f"{who}-{target.name}" if who else target.name


def families(variants: Variants) -> list[dict[str, Variant]]:
    """The variants by what must be made together: those that have the same steps up to the one whose operations a
    search may leave in float."""
    found: dict[str, dict[str, Variant]] = {}
    for name, one in variants.items():
        at = searched(one)
        key = name if at is None else key_of(one.steps[: at + 1])
        found.setdefault(key, {})[name] = one
    return list(found.values())


def shared_steps(variants: Variants) -> list[Sequence[Mapping[str, Any]]]:
    """The beginnings of variants that several families have, the short ones first."""
    steps: dict[str, Sequence[Mapping[str, Any]]] = {}
    counts: Counter[str] = Counter()
    for family in families(variants):
        begun = {
            key_of(one.steps[:end]): one.steps[:end] for one in family.values() for end in range(1, len(one.steps) + 1)
        }
        steps |= begun
        counts.update(begun.keys())
    return sorted((steps[key] for key, count in counts.items() if count > 1), key=len)


def key_of(steps: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(steps, sort_keys=True, default=list)


def least_score(own: float, target: Target, rows: int) -> float:
    """What a variant's score on the validation rows must be worth: a quarter of the gate's drop may go into conversion.

    Never finer than two rows, which is what a sound conversion may flip by chance. The quarter is our choice.
    """
    allowed = target.gates.max_drop / 4 if target.gates.max_drop is not None else 0.0025
    return own - max(allowed, 2 / rows)


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
    rankings: dict[str, list[str]] = field(default_factory=dict)

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
        """The operations of the variant's step at a place, most harmful first; variants that differ in their sessions
        have one ranking."""
        key = key_of(variant.steps[: at + 1])
        if key not in self.rankings:
            before = replace(variant, steps=variant.steps[:at])
            source = convert(self.model, self.target, name, before, self.folder, self.samples).artifact
            self.rankings[key] = ranked(variant.steps[at], source, self.model.task, self.target, self.samples)
        return self.rankings[key]

    @classmethod
    def opened(cls, inputs: Mapping[str, Any], folder: Path) -> "Bench":
        """A stage's bench, made of its inputs."""
        model, splits = Model.from_json(inputs["network"]), splits_in(Path(inputs["data"]))
        features = encoded(model.task, splits.validation, model.folder)
        samples = calibration(model, splits.train)
        return cls(model, Target.from_json(inputs["target"]), folder, samples, features, splits.validation)


def shared(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """What families of variants begin with; what the network's own score is worth, and the shapes of requests."""
    variants = {name: Variant.from_json(one) for name, one in spec["variants"].items()}
    bench, judged = Bench.opened(inputs, folder), splits_in(Path(inputs["data"])).eval
    model, target = bench.model, bench.target
    bring(Path(inputs["graphs"]) if inputs["graphs"] else None, model, variants.values(), folder)
    shapes = request_shapes(model, judged, target, list(variants.values()), bench.samples)
    for steps in shared_steps({name: shaped(one, shapes) for name, one in variants.items()}):
        try:
            convert(model, target, "shared", Variant(steps=tuple(steps)), folder, bench.samples)
        except FAILURES as error:  # whose variants meet it again, and tell of it
            log.info("what variants share cannot be made: %s", error)
    return {"worth": bench.worth(Exported("network", (), model.artifact)), "shapes": shapes}


def made_and_scored(
    spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher
) -> Mapping[str, Any]:
    """A family's variants with their scores, each as it keeps the score `least` where there is one, and why others were
    left out."""
    bench = Bench.opened(inputs, folder)
    variants = {name: Variant.from_json(one) for name, one in spec["variants"].items()}
    bring(Path(inputs["shared"]), bench.model, variants.values(), folder, linked)
    bring(Path(inputs["graphs"]) if inputs["graphs"] else None, bench.model, variants.values(), folder)
    made: dict[str, Exported] = {}
    left_out: dict[str, str] = {}
    for at, (name, variant) in enumerate(variants.items()):
        tell.advance("variants", at, len(variants), name)
        try:
            attempt = partial(bench.made, name)
            if spec["least"] is None:
                one, worth = attempt(variant)
            else:
                one, worth = with_exclusions(variant, attempt, partial(bench.ranked, name, variant), spec["least"])
            made[name] = replace(one, score=bench.model.task.metric.worth(worth))
        except FAILURES as error:
            left_out[name] = str(error)
            log.info("%s is left out: %s", name, error)
    return {"variants": {name: one.to_json() for name, one in made.items()}, "left_out": left_out}
