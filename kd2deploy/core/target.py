"""A deployment target as data: the device, its runtimes, the work it does and the gates a student must pass there."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

NAME = re.compile(r"\w[\w.+-]*")
"""What targets and variants may be called: their names become names of folders and of contenders."""
LONGEST_NAME = 60
"""Characters: names of stages' folders are made of one of each, and a file system takes 255 bytes."""
CAPABILITY = re.compile(r"(\d+\.\d+)?")
CONTENDERS = frozenset({"teacher", "student", "control", "eager"})
"""Who is measured beside the variants; `eager` is how the networks themselves run."""


@dataclass(frozen=True)
class Workload:
    """What one request looks like, and how many of the evaluation set's inputs are drawn to time it."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "allow_inf_nan": False}
    batch: int = 1
    inputs: int = 256
    in_flight: int = 1
    """Requests that are served at once when throughput is taken, each by a session of its own in one process with its
    part of the threads. Latency is always that of one request alone."""

    def __post_init__(self) -> None:
        for name in ("batch", "inputs", "in_flight"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Gates:
    """The limits of the verdict, a target's or a recipe's. What is None does not gate; points are in the metric's own
    unit (0.01 = 1 point)."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "allow_inf_nan": False}
    max_drop: float | None = None
    """Largest allowed loss of the task's metric against the teacher, absolute."""
    max_class_drop: float | None = None
    """Largest allowed loss of any single class's recall against the teacher, absolute; needs classes."""
    min_retention: float | None = None
    """Smallest allowed student / teacher ratio of the metric, 0..1."""
    min_gap_closed: float | None = None
    """Smallest allowed (student - control) / (teacher - control)."""
    min_speedup: float | None = None
    """Smallest allowed ratio of median latencies, teacher / student, against `baseline`."""
    end_to_end: float | None = None
    """The same of whole requests, from rows to answers, against the eager teacher whatever `baseline` says."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    min_throughput: float | None = None
    """Smallest allowed rows per second, with the workload's requests in flight on the target's threads."""
    max_size_mb: float | None = None
    """Largest allowed size of the deployed file."""
    baseline: Literal["eager", "same_runtime", "best_file"] | None = None
    """How the network that `min_speedup` divides by is run: the user's "before" (eager PyTorch, also where nothing is
    said), exported exactly as the student is, or as its own fastest file. The report always shows all."""

    @property
    def against(self) -> Literal["eager", "same_runtime", "best_file"]:
        return self.baseline or "eager"

    @property
    def sought(self) -> Literal["latency", "throughput"]:
        """What variants are chosen by: the time of one request, or rows per second where these alone are limited."""
        of_one = (self.min_speedup, self.end_to_end, self.p50_ms, self.p99_ms)
        return "throughput" if self.min_throughput is not None and of_one == (None,) * 4 else "latency"

    def over(self, others: "Gates") -> "Gates":
        """These limits, and those of others where these say nothing."""
        return replace(others, **{name: value for name, value in asdict(self).items() if value is not None})

    def __post_init__(self) -> None:
        for name in ("min_speedup", "end_to_end", "p50_ms", "p99_ms", "min_throughput", "max_size_mb"):
            limit = getattr(self, name)
            if limit is not None and limit <= 0:
                raise ValueError(f"{name} must be positive, got {limit}")


@dataclass(frozen=True)
class Variant:
    """One way to deploy on the target: the converters to apply in order, and how its session is opened."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "allow_inf_nan": False}
    steps: tuple[Mapping[str, Any], ...] = ()
    """Converters by name with their arguments: `{use: onnx_from_torch, opset: 20}`."""
    session: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the session, e.g. `{provider: CUDAExecutionProvider}` or `{compile: true}`."""
    teacher: bool = True
    """Whether the teacher is deployed this way too, as the same-runtime baseline."""
    requires: str = ""
    """The extra that brings the runtime (`openvino`); where it is missing the variant is left out, and said so."""

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Variant":
        """What `dataclasses.asdict` made of a variant, after a way through JSON."""
        return cls(**{**found, "steps": tuple(found["steps"])})


@dataclass(frozen=True)
class Target:
    """A device with its runtimes. `variants` are all tried; the fastest that keeps the accuracy is deployed."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "allow_inf_nan": False}
    name: str
    about: str
    device: Literal["cpu", "cuda"]
    variants: Mapping[str, Variant]
    device_name: str = ""
    """Words of the GPU's name as CUDA tells it (`H100`, `L4`): another GPU is not this target. Empty: any."""
    plan: tuple[str, ...] = ()
    """The variants that untrained candidates are timed as: the first that this machine and this network can be made
    into. The first of `variants` when left out."""
    threads: int = 0
    """Intra-op threads; 0 means every core that this process may use."""
    workload: Workload = field(default_factory=Workload)
    gates: Gates = field(default_factory=Gates)
    measured: str = ""
    """What was really run on this target, and what was not: said in `kd2deploy targets`."""
    compute_capability: str = ""
    """Of a cuda device: "9.0". It says which types the device multiplies; empty asks the device that is here."""

    def __post_init__(self) -> None:
        for name in (self.name, *self.variants):
            if len(name.encode(errors="replace")) > LONGEST_NAME:
                raise ValueError(f"{name[:20]}... is longer than the {LONGEST_NAME} bytes that a name may have")
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name; use letters, digits, `-`, `_`, `.` and `+`")
        taken = sorted(CONTENDERS & set(self.variants))
        if taken:
            raise ValueError(f"no variant can be called {taken[0]!r}: another contender is; rename it")
        if self.threads < 0:
            raise ValueError(f"threads must be 0, for every core, or more, got {self.threads}")
        if not CAPABILITY.fullmatch(self.compute_capability):
            raise ValueError(f"compute_capability must be two numbers such as 9.0, got {self.compute_capability!r}")

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Target":
        """What `dataclasses.asdict` made of a target, after a way through JSON."""
        nested = {
            "variants": {name: Variant.from_json(variant) for name, variant in found["variants"].items()},
            "plan": tuple(found["plan"]),
            "workload": Workload(**found["workload"]),
            "gates": Gates(**found["gates"]),
        }
        return cls(**{**found, **nested})
