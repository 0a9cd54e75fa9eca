"""What was measured of each contender, as the report holds it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kd2deploy.core import Scores, SizeUnit, Task
from kd2deploy.core.estimate import Estimate
from kd2deploy.measure.by_length import median_per, medians_by_length
from kd2deploy.measure.crowded import crowded, slowdown
from kd2deploy.measure.end_to_end import end_to_end, split
from kd2deploy.measure.intervals import shown
from kd2deploy.measure.latency import latency_percentile, throughput
from kd2deploy.measure.paired import bootstrap, headline_at, share_of
from kd2deploy.measure.statistics import noise, percentile
from kd2deploy.measure.timing import Doubles, Timing
from kd2deploy.networks.weights import parameters_of
from kd2deploy.report import Crowded, EndToEnd, Latency, Measurement, Phase, TaskInfo, thinned
from kd2deploy.stages.field import Entry, Field
from kd2deploy.stages.gap import SEED
from kd2deploy.stages.limits import Limits


def contenders(task: Task, field: Field, limits: Limits | None = None) -> tuple[Measurement, ...]:
    timing, unit = field.deployed.timing, size_unit(field.deployed)
    known = {entry.name: limits.reached_by(entry) for entry in field.entries} if limits is not None else {}
    return tuple(
        replace(contender(task, entry, timing, unit), reached=known.get(entry.name)) for entry in field.entries
    )


def size_unit(deployed: Entry) -> SizeUnit | None:
    """What the size of requests is told in: it is counted as what is deployed reads them."""
    return deployed.model.task.reader.size_unit(deployed.model.folder)


def in_unit(task: TaskInfo, unit: SizeUnit | None) -> TaskInfo:
    """The task whose sizes are told in a unit, where there is one."""
    if unit is None:
        return task
    return replace(
        task,
        counted_in=unit.many,
        unit_of_size=unit.one,
        unit_elements=unit.elements,
        unit_lasts_ms=unit.lasts_ms,
    )


def contender(task: Task, entry: Entry, deployed: Timing | None, unit: SizeUnit | None) -> Measurement:
    """One contender with all that is known of it; requests are as long as they are for what is `deployed`."""
    scores = entry.scores
    return Measurement(
        name=entry.name,
        role=entry.role,
        seed=entry.seed,
        precision=entry.described.get("precision", entry.artifact.precision),
        runtime=entry.described.get("runtime", ""),
        provider=entry.described.get("provider", ""),
        sha256=entry.artifact.sha256,
        size_mb=entry.artifact.weights_mb if entry.artifact.opened_by else None,
        parameters=parameters_of(entry.model.folder) if entry.artifact.opened_by else None,
        metric=metric_of(task, scores) if scores else None,
        metrics=dict(scores.metrics) if scores else {},
        classes=dict(scores.classes) if scores else {},
        by_class={name: dict(each) for name, each in scores.by_class.items()} if scores else {},
        worst_class=min(scores.classes, key=scores.classes.__getitem__) if scores and scores.classes else "",
        timing=timing_shown(entry.timing, deployed, unit) if entry.timing is not None else None,
        deployed=entry.deployed,
        session={key: str(value) for key, value in entry.described.items()},
        note=entry.failure,
    )


def metric_of(task: Task, scores: Scores) -> Estimate:
    """The headline metric with a 95 % interval over the examples; where all are right, it does not end at a point."""
    if scores.correct is not None:
        return shown(share_of(scores.correct))
    return shown(bootstrap(headline_at(task, scores), len(scores), np.random.default_rng(SEED), 500))


def timing_shown(timing: Timing, deployed: Timing | None = None, unit: SizeUnit | None = None) -> Latency:
    """What the report holds of a timing; by length where it is said what is `deployed`, and by a `unit` of size."""
    samples = timing.samples_ms
    noisy = noise(samples, timing.inputs)
    per_s = throughput(timing)
    return Latency(
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
        throughput_in_flight=timing.in_flight,
        throughput_per_core=shown(per_s, 1 / timing.threads) if per_s and on_cores(timing) else None,
        cold_start_s=float(np.median([cold.open_s + cold.first_run_ms / 1e3 for cold in timing.cold]))
        if timing.cold
        else None,
        peak_memory_mb=timing.peak_rss_mb or None,
        device=timing.device,
        peak_device_mb=timing.peak_device_mb,
        settled=timing.settled,
        decision=timing.decision,
        phases=tuple(phase(name, taken) for name, taken in timing.by_phase().items()),
        by_length=medians_by_length(timing, deployed) if deployed is not None else (),
        per_unit=median_per(timing, unit.elements) if unit is not None else None,
        end_to_end=end_to_end_shown(timing),
        crowded=crowded_shown(timing),
    )


def on_cores(timing: Timing) -> bool:
    """Whether it ran on a known number of a processor's threads."""
    return timing.threads > 0 and timing.peak_device_mb is None


def end_to_end_shown(timing: Timing) -> EndToEnd | None:
    whole = end_to_end(timing)
    if whole is None:
        return EndToEnd(Estimate(None, note=timing.not_end_to_end)) if timing.not_end_to_end else None
    median, p90 = (shown(latency_percentile(whole, share)) for share in (0.5, 0.9))
    parts = split(whole)
    return EndToEnd(median, p90, parts.preparing_ms, parts.network_ms, parts.rest_ms, len(whole.samples_ms))


def crowded_shown(timing: Timing) -> Crowded | None:
    beside, longer = crowded(timing), slowdown(timing)
    if beside is None or longer is None:
        return Crowded(Estimate(None, note=timing.not_crowded)) if timing.not_crowded else None
    median, p90 = (shown(latency_percentile(beside, share)) for share in (0.5, 0.9))
    return Crowded(median, p90, shown(longer), len(beside.samples_ms))


def phase(name: str, taken: Sequence[Sequence[Doubles]]) -> Phase:
    """A phase of an answer, from its times in ms per process and block."""
    median, p90, p99 = (shown(percentile(taken, share)) for share in (0.5, 0.9, 0.99))
    return Phase(name, median, p90, p99, sum(len(block) for process in taken for block in process))
