"""judge: the verdict from intervals, and the whole report around it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from kd2deploy.core import Artifact, Scores, Target
from kd2deploy.measure.agreement import where_it_drops
from kd2deploy.measure.diagnosis import diagnose
from kd2deploy.measure.intervals import Figure, Interval, TooFew
from kd2deploy.measure.latency import latency_percentile, speedup, throughput
from kd2deploy.measure.lineage import breaches as lineage_breaches
from kd2deploy.measure.machine import copy_gb_per_s, describe_machine, device_copy_gb_per_s
from kd2deploy.measure.over_seeds import gap_closed_over_seeds
from kd2deploy.measure.paired import gap_closed, score_difference, score_retention
from kd2deploy.measure.statistics import mean_over_seeds, noise
from kd2deploy.measure.timing import Timing
from kd2deploy.measure.verdict import Verdict, judge
from kd2deploy.report import (
    ArtifactRecord,
    Contender,
    Curve,
    CurvePoint,
    Distillation,
    DropLink,
    Estimate,
    Finding,
    GateResult,
    LayerMap,
    SeedResult,
    Speedup,
    TaskInfo,
    Unit,
    estimate,
    needs,
    thinned,
)
from kd2deploy.report import Timing as TimingShown
from kd2deploy.report import Verdict as VerdictShown
from kd2deploy.stages.distill import Distilled
from kd2deploy.stages.export import Exports
from kd2deploy.stages.job import Job
from kd2deploy.stages.measure import Entry, Measured
from kd2deploy.stages.student import Started
from kd2deploy.train.engine import Trained

SEED = 0
BANDWIDTH_S = 0.1
"""Seconds for measuring the memory's bandwidth."""
OVERLAP_ALLOWED = 0.1
"""Above this share of evaluation rows that were trained on, a score proves nothing. Our choice."""


@dataclass(frozen=True)
class Names:
    """Who is who among the measured contenders."""

    teacher: str
    teacher_same: str | None
    control: str | None
    student: str
    deployed: str
    between: tuple[str, ...] = ()
    """What the deployed file was made from, step by step from the student."""
    unmade: Mapping[str, str] = field(default_factory=dict)
    """Contenders that could not be made, with the reason."""


@dataclass(frozen=True)
class Judged:
    verdict: Verdict
    speedups: tuple[Speedup, ...]


def decide(
    job: Job, measured: Measured, names: Names, chain: Sequence[Artifact], target: Target, gap: Figure | None = None
) -> Judged:
    """Hold every gate's figure against its limit; `gap` is the share of the gap to the teacher that was closed."""
    deployed = chain[-1]
    scores, timings, task, rng = measured.scores, measured.timings, job.task, np.random.default_rng(SEED)
    figures: dict[str, Figure | float | None] = {"max_size_mb": weights_mb(deployed)}
    teacher, student = scores.get(names.teacher), scores.get(names.deployed)
    if teacher is not None and student is not None:
        figures["max_drop"] = score_difference(task, teacher, student, rng)
        figures["min_retention"] = score_retention(task, student, teacher, rng)
        figures["min_gap_closed"] = gap
    remarks: dict[str, str] = {}
    speedups = []
    for baseline, name in (("eager", names.teacher), ("same_runtime", names.teacher_same)):
        slow, fast = timings.get(name or ""), timings.get(names.deployed)
        if name is None or slow is None or fast is None or slow.failure or fast.failure:
            continue
        ratio = speedup(slow, fast).interval
        gating = baseline == target.gates.baseline
        if gating:
            figures["min_speedup"] = ratio
            remarks["min_speedup"] = cut_short(slow, fast)
        speedups.append(Speedup(baseline, shown(ratio), name, gating))  # type: ignore[arg-type]
    own = timings.get(names.deployed)
    if own is not None and not own.failure:
        figures["p50_ms"], figures["p99_ms"] = latency_percentile(own, 0.5), latency_percentile(own, 0.99)
        remarks["p50_ms"] = remarks["p99_ms"] = cut_short(own)
    found = [*breaches(job, measured, names, target), *lineage_breaches(chain)]
    verdict = judge(target.gates, figures, found, remarks, job.task_info.metric_unit)
    return Judged(verdict, tuple(speedups))


def cut_short(*timings: Timing) -> str:
    """Which timings the wall-clock cap ended before their noise had settled, and what they lacked; empty if none."""
    return "; ".join(f"timing of {one.name} {one.decision}" for one in timings if not one.settled)


def gap_over_seeds_or_examples(
    job: Job, measured: Measured, names: Names, student: str, students: Sequence[Entry], controls: Sequence[Entry]
) -> Figure | None:
    """(student - control) / (teacher - control): over the seeds where there are several, else over the examples.

    `student` is the trained student or a file made of it; what that file lost is then taken from every seed's student.
    """
    teacher, made = measured.scores.get(names.teacher), measured.scores.get(student)
    control = measured.scores.get(names.control or "")
    if teacher is None or made is None or control is None:
        return None
    metric = job.task.metric
    ours, plain = by_seed(job, measured, students), by_seed(job, measured, controls)
    both = [seed for seed in ours if seed in plain]
    trained = measured.scores.get(names.student)
    if len(both) < 2 or trained is None:
        truth, rng = teacher.truth, np.random.default_rng(SEED)
        return gap_closed(job.task.headline, truth, made.predictions, teacher.predictions, control.predictions, rng)
    lost = trained.metrics[metric] - made.metrics[metric]
    scores, without = [ours[seed] - lost for seed in both], [plain[seed] for seed in both]
    known = gap_closed_over_seeds(scores, without, teacher.metrics[metric])
    gap = teacher.metrics[metric] - float(np.mean(without))
    share = float(np.mean(scores) - np.mean(without)) / gap if gap else math.nan
    return known or Interval(share, -math.inf, math.inf)


def by_seed(job: Job, measured: Measured, entries: Sequence[Entry]) -> dict[int, float]:
    """The headline metric of each seed's network on the evaluation set, where it was measured."""
    found = zip(job.recipe.seeds, entries, strict=False)
    metric = job.task.metric
    return {seed: measured.scores[entry.name].metrics[metric] for seed, entry in found if entry.name in measured.scores}


def breaches(job: Job, measured: Measured, names: Names, target: Target) -> list[str]:
    """What makes the numbers worthless, one sentence each. A contender that no gate rests on may fail."""
    found = list(measured.breaches)
    failures = {**names.unmade, **measured.failures}
    baseline = names.teacher_same if target.gates.baseline == "same_runtime" else None
    for name in (names.teacher, baseline, names.deployed):
        if name is not None and name in failures:
            found.append(f"{name} could not be measured: {failures[name]}")
    share = job.splits.overlap / max(1, len(job.splits.eval))
    if share > OVERLAP_ALLOWED:
        found.append(
            f"{job.splits.overlap:,} of {len(job.splits.eval):,} evaluation rows stand in the training set too: "
            "the score measures memory; remove them from one of the two"
        )
    return found


def shown(figure: Figure | float | None, factor: float = 1.0) -> Estimate:
    """A measured figure as the report holds it."""
    if figure is None:
        return Estimate(None, note="not measured")
    if isinstance(figure, TooFew):
        return needs(figure.needs)
    if isinstance(figure, Interval):
        return estimate(figure.estimate * factor, figure.low * factor, figure.high * factor)
    return estimate(figure * factor)


def verdict_shown(verdict: Verdict, task: TaskInfo) -> VerdictShown:
    """The verdict as the report holds it; a metric that is no share loses numbers, not points."""
    points: Unit = "points" if task.metric_unit == "share" else "number"
    gates = tuple(
        GateResult(
            gate.name,
            gate.bound,
            gate.limit,
            points if gate.unit == "points" else gate.unit,
            estimate(gate.estimate, gate.low, gate.high),
            gate.outcome.value,
            gate.sentence,
        )
        for gate in verdict.gates
    )
    return VerdictShown(verdict.outcome.value, verdict.sentence, gates, tuple(verdict.breaches))


def contenders(job: Job, measured: Measured, entries: Sequence[Entry], names: Names) -> tuple[Contender, ...]:
    found = []
    for entry in entries:
        scores, timing = measured.scores.get(entry.name), measured.timings.get(entry.name)
        described = dict(timing.describe) if timing is not None else {}
        found.append(
            Contender(
                name=entry.name,
                role=entry.role,
                precision=described.get("precision", entry.contender.artifact.precision),
                runtime=described.get("runtime", ""),
                provider=described.get("provider", ""),
                sha256=entry.contender.artifact.sha256,
                size_mb=weights_mb(entry.contender.artifact),
                metric=metric_of(job, scores) if scores else None,
                metrics=dict(scores.metrics) if scores else {},
                classes=dict(scores.classes) if scores else {},
                f1=dict(scores.f1) if scores else {},
                worst_class=min(scores.classes, key=scores.classes.__getitem__) if scores and scores.classes else "",
                timing=timing_shown(timing) if timing is not None and not timing.failure else None,
                deployed=entry.name == names.deployed,
                session={key: str(value) for key, value in described.items()},
                note=measured.failures.get(entry.name, ""),
            )
        )
    return tuple(found)


def weights_mb(artifact: Artifact) -> float:
    """Size of what is loaded: a network's folder also holds its tokenizer, which does not count."""
    weights = artifact.path / "model.safetensors"
    return weights.stat().st_size / 1e6 if weights.is_file() else artifact.size_mb


def metric_of(job: Job, scores: Scores) -> Estimate:
    """The headline metric with a 95 % interval: the paired difference to a score of nought, resampled over examples."""
    from kd2deploy.measure.paired import bootstrap

    def headline(drawn: Any) -> float:
        return job.task.headline(scores.truth[drawn], scores.predictions[drawn])

    return shown(bootstrap(headline, len(scores.truth), np.random.default_rng(SEED), 500))


def timing_shown(timing: Timing) -> TimingShown:
    samples = timing.samples_ms
    noisy = noise(samples, timing.inputs)
    per_s = throughput(timing)
    return TimingShown(
        median=shown(latency_percentile(timing, 0.5)),
        p90=shown(latency_percentile(timing, 0.9)),
        p99=shown(latency_percentile(timing, 0.99)),
        samples=len(samples),
        samples_ms=thinned([float(one) for one in samples]),
        least_ms=float(samples.min()),
        cpu_ms=timing.cpu_ms_per_run,
        cv=noisy.cv if np.isfinite(noisy.cv) else None,
        cv_flagged=bool(noisy.flags),
        processes=len({block.process for block in timing.blocks}),
        includes="host clock around one blocking request, input and output in host memory",
        throughput_per_s=shown(per_s) if per_s else None,
        throughput_batch=timing.batch,
        cold_start_s=float(np.median([cold.open_s + cold.first_run_ms / 1e3 for cold in timing.cold]))
        if timing.cold
        else None,
        peak_memory_mb=timing.peak_rss_mb or None,
        settled=timing.settled,
        decision=timing.decision,
    )


def drop_chain(job: Job, measured: Measured, names: Names, parts: Mapping[str, Scores]) -> tuple[DropLink, ...]:
    """teacher -> student -> each conversion of the deployed variant, with what each step cost."""
    links: list[DropLink] = []
    before: tuple[str, Scores] | None = None
    for step, name in (
        ("teacher", names.teacher),
        ("student", names.student),
        *((name, name) for name in names.between),
        (f"deployed ({names.deployed})", names.deployed),
    ):
        scores = parts.get(name)
        if scores is None:
            continue
        delta = None
        if before is not None:
            delta = shown(score_difference(job.task, scores, before[1], np.random.default_rng(SEED)))
        agreement = {}
        if before is not None:
            agreement = job.task.agreement(measured.outputs[before[0]], measured.outputs[name])
        value = estimate(scores.metrics[job.task.metric])
        links.append(DropLink(step, value, delta, agreement))
        before = (name, scores)
    return tuple(links)


def distillation(
    job: Job, method: str, measured: Measured, names: Names, students: Sequence[Entry], controls: Sequence[Entry]
) -> Distillation:
    """The student against its control on the evaluation set, seed by seed, both as PyTorch runs them."""
    metric = job.task.metric
    ours, plain = by_seed(job, measured, students), by_seed(job, measured, controls)
    seeds = tuple(SeedResult(seed, ours.get(seed), plain.get(seed)) for seed in job.recipe.seeds)
    teacher = measured.scores.get(names.teacher)
    gains = [ours[seed] - plain[seed] for seed in job.recipe.seeds if seed in ours and seed in plain]
    gain: Figure | None = None
    gap = gap_over_seeds_or_examples(job, measured, names, names.student, students, controls)
    control, student = measured.scores.get(names.control or ""), measured.scores.get(names.student)
    if len(gains) > 1:
        gain = mean_over_seeds(gains)
    elif control is not None and student is not None:
        gain = score_difference(job.task, student, control, np.random.default_rng(SEED))
    return Distillation(
        method=method,
        teacher=teacher.metrics[metric] if teacher else None,
        seeds=seeds,
        gain=shown(gain) if gain else None,
        gap_closed=gap_shown(gap, teacher, control, metric),
        student_spread=spread(list(ours.values())),
        control_spread=spread(list(plain.values())),
        sentence=brought(gain),
    )


def gap_shown(gap: Figure | None, teacher: Scores | None, control: Scores | None, metric: str) -> Estimate | None:
    """The share of the gap that was closed, where there is a gap."""
    if gap is None or teacher is None or control is None:
        return None
    if teacher.metrics[metric] <= control.metrics[metric]:
        return Estimate(None, note="n/a (the teacher is no better than the control)")
    if isinstance(gap, Interval) and not math.isfinite(gap.low):
        return Estimate(None, note="n/a (the teacher is not surely better than the control)")
    return shown(gap)


def brought(gain: Figure | None) -> str:
    if not isinstance(gain, Interval):
        return "No control was trained, so nothing is said about what distillation brought."
    if gain.low > 0:
        return "Distillation helped: the student is better than the same student trained as long without a teacher."
    if gain.high < 0:
        return "Distillation hurt: the same student trained as long without a teacher is better."
    return "No difference to the control can be told: the interval of the gain holds zero."


def spread(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def curves(teacher: Trained | None, trained: Sequence[Distilled]) -> tuple[Curve, ...]:
    found = [Curve("teacher", "teacher", points(teacher.history))] if teacher else []
    for one in trained:
        history = joined([part.history for part in one.trained])
        found.append(Curve(f"{one.role}, seed {one.seed}", one.role, history, one.seed))
    return tuple(found)


def joined(histories: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[CurvePoint, ...]:
    """Several trainings of one student in a row, on one axis of epochs."""
    found: list[CurvePoint] = []
    for history in histories:
        offset = found[-1].epoch if found else 0.0
        found += [dataclasses.replace(point, epoch=point.epoch + offset) for point in points(history)]
    return tuple(found)


def points(history: Sequence[Mapping[str, Any]]) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(one["epoch"], {**one.get("terms", {}), "loss": one["loss"]}, one.get("score")) for one in history
    )


def layer_map(started: Started, student: Distilled) -> LayerMap | None:
    """The layers that terms compared; where none did, those the student's weights were copied from."""
    maps = student.layer_maps
    if maps:
        pairs = tuple(
            (str(one), str(other) if len(maps) == 1 else f"{other} ({term})")
            for term, found in maps.items()
            for one, other in found
        )
        return LayerMap(f"compared by {', '.join(maps)}", pairs)
    if started.layer_map:
        rule = f"weights copied ({started.copied_share:.0%} of the student)"
        return LayerMap(rule, tuple((str(one), str(other)) for one, other in started.layer_map))
    return None


def lineage(entries: Sequence[Entry], exports: Exports, names: Names) -> tuple[ArtifactRecord, ...]:
    records: dict[str, ArtifactRecord] = {}
    for entry in entries:
        artifact = entry.contender.artifact
        records.setdefault(artifact.sha256, record(entry.name, artifact, entry.name == names.deployed))
    for one in exports.variants.values():
        for at, artifact in enumerate(one.chain):
            last = at == len(one.chain) - 1
            name = one.name if last else f"{one.name} / {artifact.made_by}"
            deployed = last and one.name == names.deployed
            known = records.get(artifact.sha256)
            records[artifact.sha256] = record(
                known.name if known else name, artifact, deployed or bool(known and known.deployed)
            )
    return tuple(records.values())


def record(name: str, artifact: Artifact, deployed: bool) -> ArtifactRecord:
    details = {
        key: ", ".join(value) if key == "excluded" else plain(value)  # every operation left in float is named
        for key, value in artifact.details.items()
    }
    return ArtifactRecord(
        name,
        artifact.sha256,
        artifact.parent,
        artifact.made_by.rpartition(".")[2],
        artifact.precision,
        weights_mb(artifact),
        deployed,
        details,
    )


def plain(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {inner}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) if len(value) <= 6 else f"{len(value)}: {', '.join(map(str, value[:3]))}, ..."
    return str(value)


def findings(measured: Measured, names: Names, target: Target, deployed: Artifact) -> tuple[Finding, ...]:
    """Why the student is not as fast as wanted, where it is not."""
    name = names.teacher if target.gates.baseline == "eager" else names.teacher_same
    slow, fast = measured.timings.get(name or ""), measured.timings.get(names.deployed)
    if slow is None or fast is None or slow.failure or fast.failure:
        return ()
    ratio = speedup(slow, fast)
    found = diagnose(
        fast,
        slow,
        ratio,
        target.gates.min_speedup or 1.0,
        machine=describe_machine(),
        precision=deployed.precision,
        size_mb=weights_mb(deployed),
        bandwidth=partial(device_copy_gb_per_s if target.device == "cuda" else copy_gb_per_s, BANDWIDTH_S),
    )
    return tuple(Finding(one.sentence, one.remedy, names.deployed) for one in found)


def drop_sentence(links: Sequence[DropLink], task: TaskInfo) -> str:
    known = [(link.step, link.metric.value) for link in links if link.metric is not None]
    return where_it_drops([(step, value) for step, value in known if value is not None], task.metric_unit)
