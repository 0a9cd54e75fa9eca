"""Measured figures as the report holds them."""

from typing import Any

import numpy as np

from kd2deploy.core import Scores, Task
from kd2deploy.measure.intervals import Figure, Interval, TooFew
from kd2deploy.measure.latency import latency_percentile, throughput
from kd2deploy.measure.paired import bootstrap
from kd2deploy.measure.statistics import noise
from kd2deploy.measure.timing import Timing
from kd2deploy.measure.verdict import Verdict
from kd2deploy.report import (
    Contender,
    Estimate,
    GateResult,
    LengthGroup,
    Speedup,
    estimate,
    needs,
    thinned,
)
from kd2deploy.report import Timing as TimingShown
from kd2deploy.report import Verdict as VerdictShown
from kd2deploy.stages.field import Entry, Field
from kd2deploy.stages.gap import SEED
from kd2deploy.stages.judge import Judged


def shown(figure: Figure | float | None, factor: float = 1.0) -> Estimate:
    """A measured figure as the report holds it."""
    if figure is None:
        return Estimate(None, note="not measured")
    if isinstance(figure, TooFew):
        return needs(figure.needs)
    if isinstance(figure, Interval):
        return estimate(figure.estimate * factor, figure.low * factor, figure.high * factor)
    return estimate(figure * factor)


def verdict_shown(verdict: Verdict) -> VerdictShown:
    """The verdict as the report holds it."""
    gates = tuple(
        GateResult(
            gate.name,
            gate.bound,
            gate.limit,
            gate.unit,
            estimate(gate.estimate, gate.low, gate.high),
            gate.outcome.value,
            gate.sentence,
        )
        for gate in verdict.gates
    )
    return VerdictShown(verdict.outcome.value, verdict.sentence, gates, tuple(verdict.breaches))


def speedups(judged: Judged) -> tuple[Speedup, ...]:
    return tuple(
        Speedup(
            one.baseline,
            shown(one.ratio),
            one.against,
            one.gates,
            tuple(
                LengthGroup(each.smallest, each.largest, each.requests, each.slow_ms, each.fast_ms, shown(each.ratio))
                for each in one.by_length
            ),
        )
        for one in judged.speedups
    )


def contenders(task: Task, field: Field) -> tuple[Contender, ...]:
    return tuple(contender(task, entry) for entry in field.entries)


def contender(task: Task, entry: Entry) -> Contender:
    """One contender with all that is known of it."""
    scores = entry.scores
    return Contender(
        name=entry.name,
        role=entry.role,
        seed=entry.seed,
        precision=entry.described.get("precision", entry.artifact.precision),
        runtime=entry.described.get("runtime", ""),
        provider=entry.described.get("provider", ""),
        sha256=entry.artifact.sha256,
        size_mb=entry.artifact.weights_mb,
        metric=metric_of(task, scores) if scores else None,
        metrics=dict(scores.metrics) if scores else {},
        classes=dict(scores.classes) if scores else {},
        f1=dict(scores.f1) if scores else {},
        worst_class=min(scores.classes, key=scores.classes.__getitem__) if scores and scores.classes else "",
        timing=timing_shown(entry.timing) if entry.timing is not None else None,
        deployed=entry.deployed,
        session={key: str(value) for key, value in entry.described.items()},
        note=entry.failure,
    )


def metric_of(task: Task, scores: Scores) -> Estimate:
    """The headline metric with a 95 % interval: the paired difference to a score of nought, resampled over examples."""

    def headline(drawn: Any) -> float:
        return task.metric.headline(scores.truth[drawn], scores.predictions[drawn])

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
