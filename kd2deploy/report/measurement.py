"""One artifact that was scored and timed, as a report holds it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kd2deploy.core.device_times import DeviceTimes
from kd2deploy.core.estimate import Estimate
from kd2deploy.core.lengths import LengthMedian
from kd2deploy.core.roofline import Reached

SAMPLES_ON_PAGE = 400
"""Enough points for a smooth distribution curve; the raw samples stay in the run's folder."""

Role = Literal[
    "teacher",
    "teacher_same_runtime",
    "teacher_best_file",
    "baseline",
    "baseline_same_runtime",
    "baseline_best_file",
    "control",
    "student",
    "variant",
    "link",
    "network",
    "bundle",
    "exported",
]
"""`teacher` runs in eager PyTorch (the user's "before"), `teacher_same_runtime` exactly as the student is deployed,
`teacher_best_file` as its own fastest file where that is another, `baseline`, `baseline_same_runtime` and
`baseline_best_file` are the same of what is compared with where that is not the teacher,
`control` is the student trained without a teacher, `variant` a way to deploy the student, `link` a file on the way to
the deployed one that is none itself. Where nothing is judged a contender is what was named: a `network`'s folder,
a `bundle`, or an `exported` file."""


@dataclass(frozen=True)
class Phase:
    """A part of each answer's time, where answers come in parts."""

    name: str
    """`first part`: from the request to the first of it; `each further part`: from one to the next."""
    median: Estimate
    p90: Estimate
    p99: Estimate
    samples: int


@dataclass(frozen=True)
class EndToEnd:
    """Whole requests, from what a client sends to the answer."""

    median: Estimate
    """Its note says why there is none, where that is so; the rest is then empty."""
    p90: Estimate | None = None
    preparing_ms: float | None = None
    """Median of the part before the network: what the reader makes its inputs in."""
    network_ms: float | None = None
    rest_ms: float | None = None
    """Behind it: from outputs to the answer."""
    samples: int = 0


@dataclass(frozen=True)
class Crowded:
    """One request while a busy neighbour keeps a core of the machine at work."""

    median: Estimate
    """Its note says why there is none, where that is so; the rest is then empty."""
    p90: Estimate | None = None
    slowdown: Estimate | None = None
    """Its median over the median alone."""
    samples: int = 0


@dataclass(frozen=True)
class Latency:
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
    device: DeviceTimes | None = None
    """Where its time goes on a device; None on a processor."""
    throughput_per_s: Estimate | None = None
    throughput_batch: int | None = None
    throughput_in_flight: int = 1
    """Requests at once when it was taken."""
    throughput_per_core: Estimate | None = None
    """Over the threads that it was taken with; None on a device."""
    cold_start_s: float | None = None
    """Load + build + first run."""
    peak_memory_mb: float | None = None
    peak_device_mb: float | None = None
    """What it took of the device's memory; None on a processor."""
    settled: bool = True
    """False where the wall-clock cap came before the noise was small enough."""
    decision: str = ""
    """Why timing ended, in a sentence."""
    phases: tuple[Phase, ...] = ()
    """Of an answer that comes in parts; empty where it comes as one."""
    by_length: tuple[LengthMedian, ...] = ()
    """For short, middling and long requests apart; empty where all are alike."""
    per_unit: Estimate | None = None
    """Median in ms for one `unit_of_size` of the task's; None where it has none."""
    end_to_end: EndToEnd | None = None
    """None where it was not to be timed."""
    crowded: Crowded | None = None
    """None where it was not to be timed."""


@dataclass(frozen=True)
class Measurement:
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
    """Of the network it was made of."""
    metric: Estimate | None = None
    """The task's headline metric on the evaluation set."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    classes: Mapping[str, float] = field(default_factory=dict)
    """Recall per class, 0..1, by label."""
    worst_class: str = ""
    """The label of the lowest recall."""
    by_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Other figures of each class, 0..1, by their names: `F1` where a row may have several labels, `Average precision`
    of objects."""
    timing: Latency | None = None
    reached: Reached | None = None
    """Of what the machine can do; None on a device, and of what was not timed."""
    deployed: bool = False
    session: Mapping[str, str] = field(default_factory=dict)
    """What the session says is really active."""
    note: str = ""
    """Why it could not be scored or timed."""


def thinned(samples: Sequence[float], most: int = SAMPLES_ON_PAGE) -> tuple[float, ...]:
    """At most `most` evenly spaced order statistics, the smallest and the largest among them: enough for the page."""
    ordered = sorted(float(sample) for sample in samples)
    if len(ordered) <= most:
        return tuple(ordered)
    return tuple(ordered[round(place * (len(ordered) - 1) / (most - 1))] for place in range(most))


@dataclass(frozen=True)
class Floor:
    """What is had without any network, scored on the same evaluation rows: what a network must beat."""

    name: str
    metric: Estimate
    rows: int
    """Labelled rows that it was fitted on; 0 of what learns nothing."""
