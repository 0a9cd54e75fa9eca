"""judge: every gate held against its interval, and what makes the numbers worthless."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from kd2deploy.core import Artifact, Target
from kd2deploy.core.figures import listed
from kd2deploy.measure.by_length import Group, speedup_by_length
from kd2deploy.measure.class_drops import LEAST_ROWS, ClassDrop, class_drops, too_few, worst_drop
from kd2deploy.measure.intervals import Figure, Interval
from kd2deploy.measure.latency import latency_percentile, speedup
from kd2deploy.measure.lineage import breaches as lineage_breaches
from kd2deploy.measure.paired import score_difference, score_retention
from kd2deploy.measure.phrases import Metric
from kd2deploy.measure.timing import Timing
from kd2deploy.measure.verdict import Verdict, judge
from kd2deploy.stages.job import Job
from kd2deploy.stages.measure import Measured

Baseline = Literal["eager", "same_runtime"]

SEED = 0
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
class Compared:
    """The deployed file's speedup over one of the two teachers."""

    baseline: Baseline
    against: str
    ratio: Interval
    gates: bool
    by_length: tuple[Group, ...]


@dataclass(frozen=True)
class Judged:
    verdict: Verdict
    speedups: tuple[Compared, ...]
    class_drops: tuple[ClassDrop, ...]
    """Of the deployed file against the teacher."""


def decide(
    job: Job, measured: Measured, names: Names, chain: Sequence[Artifact], target: Target, gap: Figure | None = None
) -> Judged:
    """Hold every gate's figure against its limit; `gap` is the share of the gap to the teacher that was closed."""
    drops = dropped(measured, names)
    speedups = compared(measured, names, target)
    figures: dict[str, Figure | float | None] = {
        "max_size_mb": weights_mb(chain[-1]),
        "max_class_drop": worst_drop(drops),
        "min_speedup": next((one.ratio for one in speedups if one.gates), None),
        **accuracy(job, measured, names, gap),
        **latency(measured, names),
    }
    own, slow = (measured.timings.get(name) for name in (names.deployed, baseline_name(names, target) or ""))
    of_own = cut_short(own) if own else ""
    remarks = {
        "min_speedup": cut_short(slow, own) if slow and own else "",
        "p50_ms": of_own,
        "p99_ms": of_own,
        "max_class_drop": untold(drops),
    }
    subjects = {
        "max_class_drop": drops[0].label if drops else "",
        "min_speedup": "" if target.gates.baseline == "eager" else "the teacher in the same runtime",
    }
    found = [*breaches(job, measured, names, target), *lineage_breaches(chain)]
    metric = Metric(job.task_info.metric, job.task_info.metric_unit, job.task_info.metric_suffix)
    return Judged(judge(target.gates, figures, found, remarks, metric, subjects), speedups, drops)


def accuracy(job: Job, measured: Measured, names: Names, gap: Figure | None) -> dict[str, Figure | None]:
    """What the deployed file loses against the teacher, paired; empty where one of them was not scored."""
    teacher, student = measured.scores.get(names.teacher), measured.scores.get(names.deployed)
    if teacher is None or student is None:
        return {}
    rng = np.random.default_rng(SEED)
    return {
        "max_drop": score_difference(job.task, teacher, student, rng),
        "min_retention": score_retention(job.task, student, teacher, rng),
        "min_gap_closed": gap,
    }


def dropped(measured: Measured, names: Names) -> tuple[ClassDrop, ...]:
    """What each class loses; empty without classes, or where one of the two was not scored."""
    teacher, student = measured.scores.get(names.teacher), measured.scores.get(names.deployed)
    return class_drops(teacher, student) if teacher is not None and student is not None else ()


def untold(drops: Sequence[ClassDrop]) -> str:
    few = too_few(drops)
    return f"{listed(few)}: fewer than {LEAST_ROWS} evaluation rows, so that nothing is known of it" if few else ""


def compared(measured: Measured, names: Names, target: Target) -> tuple[Compared, ...]:
    """The deployed file against both teachers, as far as they were timed."""
    found = []
    pairs: tuple[tuple[Baseline, str | None], ...] = (("eager", names.teacher), ("same_runtime", names.teacher_same))
    for baseline, name in pairs:
        slow, fast = measured.timings.get(name or ""), measured.timings.get(names.deployed)
        if name is None or slow is None or fast is None or slow.failure or fast.failure:
            continue
        gates = baseline == target.gates.baseline
        found.append(Compared(baseline, name, speedup(slow, fast).interval, gates, speedup_by_length(slow, fast)))
    return tuple(found)


def baseline_name(names: Names, target: Target) -> str | None:
    """The teacher that `min_speedup` divides by."""
    return names.teacher if target.gates.baseline == "eager" else names.teacher_same


def latency(measured: Measured, names: Names) -> dict[str, Figure]:
    own = measured.timings.get(names.deployed)
    if own is None or own.failure:
        return {}
    return {"p50_ms": latency_percentile(own, 0.5), "p99_ms": latency_percentile(own, 0.99)}


def cut_short(*timings: Timing) -> str:
    """Which timings the wall-clock cap ended before their noise had settled, and what they lacked; empty if none."""
    return "; ".join(f"timing of {one.name} {one.decision}" for one in timings if not one.settled)


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


def weights_mb(artifact: Artifact) -> float:
    """Size of what is loaded: a network's folder also holds its tokenizer, which does not count."""
    weights = artifact.path / "model.safetensors"
    return weights.stat().st_size / 1e6 if weights.is_file() else artifact.size_mb
