"""Measured figures as the report holds them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd2deploy.core import Scores
from kd2deploy.measure.drop_chain import Link, where_it_drops
from kd2deploy.measure.intervals import Figure, Interval, TooFew
from kd2deploy.measure.latency import latency_percentile, throughput
from kd2deploy.measure.paired import bootstrap, score_difference
from kd2deploy.measure.statistics import noise
from kd2deploy.measure.timing import Timing
from kd2deploy.measure.verdict import Verdict
from kd2deploy.report import (
    ClassDrop,
    Contender,
    DropLink,
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
from kd2deploy.stages.job import Job
from kd2deploy.stages.judge import SEED, Judged, Names, weights_mb
from kd2deploy.stages.measure import Entry, Measured


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


def class_drops(judged: Judged) -> tuple[ClassDrop, ...]:
    return tuple(ClassDrop(one.label, one.rows, one.before, one.after, shown(one.drop)) for one in judged.class_drops)


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


def metric_of(job: Job, scores: Scores) -> Estimate:
    """The headline metric with a 95 % interval: the paired difference to a score of nought, resampled over examples."""

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
        links.append(DropLink(step, metric_of(job, scores), delta, agreement))
        before = (name, scores)
    return tuple(links)


def drop_sentence(job: Job, measured: Measured, names: Names, links: Sequence[DropLink]) -> str:
    """Where the metric is lost, in words."""
    steps = [Link(link.step, change_of(link.delta)) for link in links]
    first, last = measured.scores.get(names.teacher), measured.scores.get(names.deployed)
    whole = None
    if first is not None and last is not None:
        whole = score_difference(job.task, last, first, np.random.default_rng(SEED))
    return where_it_drops(steps, whole, "points" if job.task_info.metric_unit == "share" else "number")


def change_of(delta: Estimate | None) -> Interval | None:
    if delta is None or delta.value is None:
        return None
    low, high = (math.nan if end is None else end for end in (delta.low, delta.high))
    return Interval(delta.value, low, high)
