"""The report of a run as plain data: what was asked, what was measured, what follows. JSON first, pages from it.

Everything that a partial run lacks is empty or None, and every page leaves its section out. Metrics are in the task's
own unit, 0..1 where `TaskInfo.metric_unit` is "share"; times are in milliseconds unless the name says otherwise.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter, ValidationError

from kd2deploy.core.figures import MetricUnit, Unit
from kd2deploy.core.written import write_text
from kd2deploy.errors import RunError

SCHEMA_VERSION = 2
SAMPLES_ON_PAGE = 400
"""Enough points for a smooth distribution curve; the raw samples stay in the run's folder."""

Plain = str | int | float | bool | None
Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "INVALID"]
Role = Literal[
    "teacher", "teacher_same_runtime", "baseline", "baseline_same_runtime", "control", "student", "variant", "link"
]
"""`teacher` runs in eager PyTorch (the user's "before"), `teacher_same_runtime` exactly as the student is deployed,
`baseline` and `baseline_same_runtime` are the same of what is compared with where that is not the teacher,
`control` is the student trained without a teacher, `variant` a way to deploy the student, `link` a file on the way to
the deployed one that is none itself."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval. `value` None means that it cannot be stated; `note` then says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def estimate(value: float | None, low: float | None = None, high: float | None = None, note: str = "") -> Estimate:
    """An Estimate with what is not finite left out: an endless interval loses its end, a NaN becomes "not finite"."""
    low, high = (None if end is None or not math.isfinite(end) else float(end) for end in (low, high))
    if value is not None and not math.isfinite(value):
        return Estimate(None, low, high, note or "not finite")
    return Estimate(None if value is None else float(value), low, high, note)


def needs(samples: int) -> Estimate:
    """A percentile that is not stated, because that takes at least `samples` samples."""
    return Estimate(None, note=f"n/a (needs {samples:,})")


def thinned(samples: Sequence[float], most: int = SAMPLES_ON_PAGE) -> tuple[float, ...]:
    """At most `most` evenly spaced order statistics, the smallest and the largest among them: enough for the page."""
    ordered = sorted(float(sample) for sample in samples)
    if len(ordered) <= most:
        return tuple(ordered)
    return tuple(ordered[round(place * (len(ordered) - 1) / (most - 1))] for place in range(most))


@dataclass(frozen=True)
class GateResult:
    """One limit and how the measurement stands to it."""

    name: str
    """The recipe's own name: `max_drop`, `min_speedup`, `p99_ms`."""
    bound: Literal["at_most", "at_least"]
    limit: float
    unit: Unit
    estimate: Estimate
    outcome: Outcome
    sentence: str


@dataclass(frozen=True)
class Verdict:
    outcome: Outcome
    sentence: str
    """What a colleague should remember, in one sentence."""
    gates: tuple[GateResult, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why it is INVALID, or what else made it what it is."""

    @property
    def told(self) -> str:
        """The sentence without the outcome's word, for a page that has just shown it."""
        return self.sentence.removeprefix(f"{self.outcome}: ")


@dataclass(frozen=True)
class TaskInfo:
    name: str
    metric: str
    metric_unit: MetricUnit = "share"
    """`share` is 0..1 and written in percent; `number` is written as it stands (decibels, a loss)."""
    metric_suffix: str = ""
    """Written behind a `number`: "dB"."""
    about: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataInfo:
    source: str
    train_rows: int | None = None
    eval_rows: int | None = None
    size_mb: float | None = None
    overlap: int | None = None
    """Evaluation rows that also stand in the training set."""
    sha256: str = ""
    details: Mapping[str, Plain] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timing:
    """Host latency of one request, and what stands beside it but is never mixed with it."""

    median: Estimate
    p90: Estimate
    p99: Estimate
    samples: int
    """How many requests were timed."""
    samples_ms: tuple[float, ...] = ()
    """`thinned` for the page."""
    least_ms: float | None = None
    cpu_ms: float | None = None
    """Mean processor time of one request, all threads together."""
    cv: float | None = None
    """Standard deviation / mean, 0..1."""
    cv_flagged: bool = False
    processes: int | None = None
    """Fresh processes the samples come from."""
    includes: str = ""
    """What one sample holds: "host clock, copies in and out"."""
    with_copies: Estimate | None = None
    """Median with copies to and from the device, where `median` is device-resident."""
    gpu: Estimate | None = None
    """Median GPU time by events."""
    throughput_per_s: Estimate | None = None
    throughput_batch: int | None = None
    cold_start_s: float | None = None
    """Load + build + first run."""
    peak_memory_mb: float | None = None
    settled: bool = True
    """False where the wall-clock cap came before the noise was small enough."""
    decision: str = ""
    """Why timing ended, in a sentence."""


@dataclass(frozen=True)
class Contender:
    """One artifact that was scored and timed."""

    name: str
    role: Role
    seed: int | None = None
    """Of the training that made its network; None for the teacher's."""
    precision: str = ""
    runtime: str = ""
    provider: str = ""
    sha256: str = ""
    size_mb: float | None = None
    parameters: int | None = None
    metric: Estimate | None = None
    """The task's headline metric on the evaluation set."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    classes: Mapping[str, float] = field(default_factory=dict)
    """Recall per class, 0..1, by label."""
    worst_class: str = ""
    """The label of the lowest recall."""
    f1: Mapping[str, float] = field(default_factory=dict)
    """F1 per label, 0..1, where a row may have several."""
    timing: Timing | None = None
    deployed: bool = False
    session: Mapping[str, str] = field(default_factory=dict)
    """What the session says is really active."""
    note: str = ""


@dataclass(frozen=True)
class LengthGroup:
    """Requests of like size: from `smallest` to `largest` elements of the deployed network's inputs."""

    smallest: int
    largest: int
    requests: int
    teacher_ms: float
    """Median over these requests."""
    deployed_ms: float
    ratio: Estimate


@dataclass(frozen=True)
class ClassDrop:
    """What one class loses of its recall, 0..1, from the teacher to the deployed artifact."""

    label: str
    rows: int
    """Evaluation rows of this class."""
    teacher: float
    deployed: float
    drop: Estimate
    """`teacher` - `deployed`, paired, with the class's own interval; without a value where the rows are too few."""


@dataclass(frozen=True)
class Speedup:
    """Ratio of median latencies, teacher / deployed."""

    baseline: Literal["eager", "same_runtime"]
    ratio: Estimate
    against: str
    """Name of the contender divided by."""
    gates: bool = False
    """Whether `min_speedup` is judged by this one."""
    by_length: tuple[LengthGroup, ...] = ()
    """The same for short, middling and long requests apart; empty where all are alike."""


@dataclass(frozen=True)
class DropLink:
    """One step on the way from the teacher to the deployed artifact, in order; the first has no delta."""

    step: str
    metric: Estimate | None
    delta: Estimate | None = None
    """Against the step before, paired; negative is a loss."""
    agreement: Mapping[str, float] = field(default_factory=dict)
    """With the step before: `top1` share of equal answers, `cosine`."""
    sha256: str = ""


@dataclass(frozen=True)
class SeedResult:
    seed: int
    student: float | None = None
    control: float | None = None


@dataclass(frozen=True)
class Distillation:
    """What distillation itself brought: the student against the same student, same budget, no teacher."""

    method: str
    teacher: float | None = None
    seeds: tuple[SeedResult, ...] = ()
    gain: Estimate | None = None
    """Student - control, in the metric's unit."""
    gap_closed: Estimate | None = None
    """(student - control) / (teacher - control)."""
    student_spread: float | None = None
    """Standard deviation over seeds, in the metric's unit."""
    control_spread: float | None = None
    sentence: str = ""


@dataclass(frozen=True)
class CurvePoint:
    epoch: float
    losses: Mapping[str, float] = field(default_factory=dict)
    """Each term of the loss by name, unweighted or as logged; `loss` is the sum."""
    score: float | None = None
    """The headline metric on the validation rows."""


@dataclass(frozen=True)
class Curve:
    """One training run."""

    run: str
    role: Role
    points: tuple[CurvePoint, ...]
    seed: int | None = None


@dataclass(frozen=True)
class Candidate:
    """A student that the plan looked at, untrained."""

    name: str
    shape: Mapping[str, Plain]
    parameters: int | None = None
    latency: Estimate | None = None
    speedup: Estimate | None = None
    """Predicted, against the gate's baseline."""
    verdict: Literal["kept", "rejected", "chosen"] = "kept"
    reason: str = ""


@dataclass(frozen=True)
class LayerMap:
    """Which teacher layer each student layer learned from."""

    rule: str
    pairs: tuple[tuple[str, str], ...]
    """(student layer, teacher layer)."""


@dataclass(frozen=True)
class ArtifactRecord:
    name: str
    sha256: str
    parent: str | None = None
    """sha256 of the artifact it was made from."""
    made_by: str = ""
    precision: str = ""
    size_mb: float | None = None
    deployed: bool = False
    details: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """A diagnosis: what was seen and what to do about it."""

    sentence: str
    remedy: str = ""
    contender: str = ""


@dataclass(frozen=True)
class StageTime:
    name: str
    seconds: float
    reused: bool = False
    """Taken from an earlier run with the same fingerprint; `seconds` is what it took there."""


@dataclass(frozen=True)
class Report:
    """A whole run, or as much of it as there was."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "allow_inf_nan": False}

    title: str
    verdict: Verdict | None = None
    target: str = ""
    target_about: str = ""
    workload: str = ""
    """One request in words: "batch 1, real lengths drawn from the evaluation set"."""
    task: TaskInfo | None = None
    data: DataInfo | None = None
    contenders: tuple[Contender, ...] = ()
    speedups: tuple[Speedup, ...] = ()
    drop_chain: tuple[DropLink, ...] = ()
    class_drops: tuple[ClassDrop, ...] = ()
    """The largest first; those with too few rows last."""
    distillation: Distillation | None = None
    curves: tuple[Curve, ...] = ()
    generator: str = ""
    """The masked language model that wrote text for the student, and how long a derived one was trained."""
    candidates: tuple[Candidate, ...] = ()
    layer_map: LayerMap | None = None
    lineage: tuple[ArtifactRecord, ...] = ()
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """What was not done and why: variant or stage -> reason."""
    machine: Mapping[str, Plain] = field(default_factory=dict)
    machine_before: Mapping[str, Plain] = field(default_factory=dict)
    """Clocks, temperature, load before the timed window; `machine_after` has the same keys."""
    machine_after: Mapping[str, Plain] = field(default_factory=dict)
    protocol: Mapping[str, Plain] = field(default_factory=dict)
    """How it was measured: clock, warm-up, rounds, processes, threads."""
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    command: str = ""
    recipe: str = ""
    """The recipe's text as it was run."""
    started: str = ""
    """ISO 8601 with the zone."""
    finished: str = ""
    stages: tuple[StageTime, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def deployed(self) -> Contender | None:
        """The contender that is shipped, if one was chosen."""
        return next((contender for contender in self.contenders if contender.deployed), None)

    def first(self, role: Role) -> Contender | None:
        """The first contender in a role."""
        return next((contender for contender in self.contenders if contender.role == role), None)

    def _repr_html_(self) -> str:
        from kd2deploy.report.notebook import notebook_html

        return notebook_html(self)

    def to_json(self) -> str:
        """The report as JSON text. Raises RunError where a number is not finite: use `estimate` to make figures."""
        try:
            return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        except ValueError as error:
            raise RunError(f"the report holds a number that is not finite; leave it out or say why: {error}") from error

    @staticmethod
    def from_json(text: str) -> "Report":
        """The report that `to_json` wrote. Raises RunError with the place of what does not fit."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RunError(f"not a report: {error}; give the report.json of a run") from error
        version = found.get("schema_version") if isinstance(found, dict) else None
        if version != SCHEMA_VERSION:
            raise RunError(
                f"a report of schema {version}, this version reads {SCHEMA_VERSION}; "
                "render it with the version of kd2deploy named in its `versions`"
            )
        try:
            return _parser().validate_json(text)
        except ValidationError as error:
            faults = (f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:5])
            raise RunError("the report was changed by hand: " + "; ".join(faults)) from error

    def write(self, path: Path) -> Path:
        """Write `to_json` to a file, and its digest beside it, which a kill between the two leaves right for either."""
        text, beside = self.to_json(), digest_of(path)
        line = f"{sha256_of_text(text)}  {path.name}\n"
        write_text(beside, line + (beside.read_text(encoding="utf-8", errors="replace") if beside.exists() else ""))
        write_text(path, text)
        write_text(beside, line)
        return path

    @staticmethod
    def read_checked(path: Path) -> "Report":
        """`read`, of a file that is still what `write` wrote: what may be shown as a run's verdict. Raises RunError.

        It shows an edit, not a forgery: whoever edits the file may write the digest anew.
        """
        beside = digest_of(path)
        report = Report.read(path)
        try:
            said = [line.partition(" ")[0] for line in beside.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError):
            raise RunError(
                f"{path} has no readable {beside.name} beside it, so nothing shows that it is what the run wrote; run "
                "the same command again there: finished stages are kept"
            ) from None
        if sha256_of_text(path.read_text(encoding="utf-8")) not in said:
            raise RunError(
                f"{path} was changed after the run wrote it, so its verdict is not shown; run the same command again "
                "there: finished stages are kept"
            )
        return report

    @staticmethod
    def read(path: Path) -> "Report":
        """Read what `write` wrote. Raises RunError."""
        try:
            return Report.from_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RunError(f"{path}: {error.strerror}; give the report.json of a run") from error
        except UnicodeDecodeError as error:
            raise RunError(f"{path} is not a report: {error}; give the report.json of a run") from error


def digest_of(path: Path) -> Path:
    """Where the digest of a report's file lies, as `sha256sum --check` reads it."""
    return path.with_name(path.name + ".sha256")


def sha256_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _parser() -> TypeAdapter[Report]:
    return TypeAdapter(Report)
