"""judge: every gate held against its interval, and what makes the numbers worthless."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kd2deploy.core import Artifact, Gates, Target
from kd2deploy.core.figures import listed
from kd2deploy.core.losses import ClassDrop
from kd2deploy.core.speedups import Speedup
from kd2deploy.core.verdict import Verdict
from kd2deploy.measure.by_length import speedup_by_length
from kd2deploy.measure.class_drops import LEAST_ROWS, class_drops, too_few, worst_drop
from kd2deploy.measure.crowded import crowded_speedup
from kd2deploy.measure.end_to_end import end_to_end_speedup
from kd2deploy.measure.intervals import Figure, shown
from kd2deploy.measure.latency import latency_percentile, speedup, throughput
from kd2deploy.measure.lineage import breaches as lineage_breaches
from kd2deploy.measure.paired import score_difference, score_retention
from kd2deploy.measure.phrases import Metric
from kd2deploy.measure.timing import Timing
from kd2deploy.measure.verdict import judge
from kd2deploy.stages.field import BASELINES, Field
from kd2deploy.stages.gap import SEED, gap_over_seeds_or_examples
from kd2deploy.stages.job import Job
from kd2deploy.stages.measure import Measured

OVERLAP_ALLOWED = 0.1
"""Above this share of evaluation rows that were trained on, a score proves nothing. Our choice."""


@dataclass(frozen=True)
class Judged:
    verdict: Verdict
    speedups: tuple[Speedup, ...]
    class_drops: tuple[ClassDrop, ...]
    """Of the deployed file against the teacher."""


def decide(job: Job, measured: Measured, target: Target) -> Judged:
    """Hold every gate's figure against its limit."""
    field, kind = measured.field, target.gates.against
    drops, before = dropped(field), field.compared_with("eager")
    own, baseline, eager = field.deployed.timing, field.baseline(kind), field.baseline("eager")
    slow = baseline.timing if baseline else None
    whole = end_to_end_speedup(eager.timing if eager else None, own)
    figures: dict[str, Figure | float | None] = {
        "max_size_mb": field.deployed.artifact.weights_mb,
        "max_class_drop": worst_drop(drops),
        "min_speedup": speedup(slow, own).interval if slow and own else None,
        "end_to_end": whole.interval if whole else None,
        "min_throughput": throughput(own) if own else None,
        **accuracy(job, field, target.gates),
        **latency(field.deployed.timing),
    }
    of_own = cut_short(own) if own else ""
    remarks = {
        "min_speedup": cut_short(slow, own) if slow and own else "",
        "p50_ms": of_own,
        "p99_ms": of_own,
        "max_class_drop": untold(drops),
    }
    subjects = {
        "max_class_drop": drops[0].label if drops else "",
        "min_speedup": {
            "same_runtime": f"the {before} in the same runtime",
            "best_file": f"the {before}'s best file",
        }.get(kind, ""),
    }
    found = [*breaches(job, measured, target), *lineage_breaches(made_of(field))]
    info = job.task_info
    metric = Metric(info.metric, info.metric_unit, info.metric_suffix, before, info.higher_is_better)
    verdict = judge(target.gates, figures, found, remarks, metric, subjects, disturbed(measured, target.gates))
    return Judged(verdict, compared(field, target), drops)


def disturbed(measured: Measured, gates: Gates) -> str:
    """Said in the verdict itself where a time is judged that was taken while others worked."""
    times = gates.min_speedup, gates.end_to_end, gates.p50_ms, gates.p99_ms, gates.min_throughput
    held = any(limit is not None for limit in times)
    return "timed while others used the machine (see What to know)" if held and measured.company else ""


def made_of(field: Field) -> tuple[Artifact, ...]:
    """The deployed file and all that it was made of, the trained student first."""
    return field.student.artifact, *field.deployed.chain


def accuracy(job: Job, field: Field, gates: Gates) -> dict[str, Figure | None]:
    """What the deployed file loses against its baseline, paired; empty where one of them was not scored."""
    before, student = field.scores(field.compared_with("eager")), field.deployed.scores
    if before is None or student is None:
        return {}
    rng = np.random.default_rng(SEED)
    gap = gates.min_gap_closed is not None
    return {
        "max_drop": score_difference(job.task, before, student, rng),
        "min_retention": score_retention(job.task, student, before, rng),
        "min_gap_closed": gap_over_seeds_or_examples(job, field, field.deployed) if gap else None,
    }


def dropped(field: Field) -> tuple[ClassDrop, ...]:
    """What each class loses; empty without classes, or where one of the two was not scored."""
    before, student = field.scores(field.compared_with("eager")), field.deployed.scores
    return class_drops(before, student) if before is not None and student is not None else ()


def untold(drops: Sequence[ClassDrop]) -> str:
    few = too_few(drops)
    return f"{listed(few)}: fewer than {LEAST_ROWS} evaluation rows, so that nothing is known of it" if few else ""


def compared(field: Field, target: Target) -> tuple[Speedup, ...]:
    """The deployed file against what it is compared with, run in each way, as far as both were timed; once where two
    ways are one file, unless a limit asks for the second."""
    found: list[Speedup] = []
    fast, gating = field.deployed.timing, target.gates.against
    for kind in BASELINES:
        baseline = field.baseline(kind)
        if baseline is None or baseline.timing is None or fast is None:
            continue
        if kind != gating and baseline.name in [one.against for one in found]:
            continue
        ratio, groups = speedup(baseline.timing, fast).interval, speedup_by_length(baseline.timing, fast)
        whole = end_to_end_speedup(baseline.timing, fast)
        told = shown(whole.interval) if whole else None
        beside = crowded_speedup(baseline.timing, fast)
        crowded = shown(beside.interval) if beside else None
        found.append(Speedup(kind, shown(ratio), baseline.name, kind == gating, groups, told, crowded))
    return tuple(found)


def latency(timing: Timing | None) -> dict[str, Figure]:
    if timing is None:
        return {}
    return {"p50_ms": latency_percentile(timing, 0.5), "p99_ms": latency_percentile(timing, 0.99)}


def cut_short(*timings: Timing) -> str:
    """Which timings the wall-clock cap ended before their noise had settled, and what they lacked; empty if none."""
    return "; ".join(f"timing of {one.name} {one.decision}" for one in timings if not one.settled)


def breaches(job: Job, measured: Measured, target: Target) -> list[str]:
    """What makes the numbers worthless, one sentence each. A contender that no gate rests on may fail."""
    found, field = list(measured.breaches), measured.field
    needed = dict.fromkeys((field.compared_with("eager"), field.compared_with(target.gates.against)))
    failed = [lost for role in needed if (lost := field.failure(role)) is not None]
    failed += [(field.deployed.name, field.deployed.failure)] if field.deployed.failure else []
    found += [f"{name} could not be measured: {reason}" for name, reason in failed]
    share = job.splits.overlap / max(1, len(job.splits.eval))
    if share > OVERLAP_ALLOWED:
        found.append(
            f"{job.splits.overlap:,} of {len(job.splits.eval):,} evaluation rows stand in the training set too: "
            "the score measures memory; remove them from one of the two"
        )
    return found
