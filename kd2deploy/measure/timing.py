"""What the race keeps of one contender: every raw sample with its input, process and block, and what surrounds them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd2deploy.core import Artifact, Feed, Row
from kd2deploy.core.device_times import DeviceTimes

Doubles = NDArray[np.float64]
PHASES: Mapping[str, Callable[[tuple[int, ...]], Sequence[int]]] = {
    "first part": lambda marks: marks[:1],
    "each further part": lambda marks: [after - before for before, after in pairwise(marks)],
}
"""Of an answer that comes in parts: what its time to the first part is, and its times from each to the next."""


@dataclass(frozen=True)
class Served:
    """How a contender is asked end to end."""

    requests: Sequence[Sequence[Row]]
    """The race's requests as a client sends them, the same examples in the same order as its arrays."""
    task: Mapping[str, Any]
    """What its task is built of."""
    folder: Path
    """What its rows are read by lies there."""
    as_bundle: bool = True
    """Whether that is written as in a bundle and read as one; else it is read as for a training."""


@dataclass(frozen=True)
class Contender:
    """One artifact as it is to be opened: `options` are the session's own arguments (`Variant.session`)."""

    name: str
    artifact: Artifact
    options: Mapping[str, Any] = field(default_factory=dict)
    task_spec: Mapping[str, Any] | None = None
    """Its own task where its network reads other inputs than the rest (another tokenizer); None: the race's."""
    feeds: Sequence[Feed] | None = None
    """The race's requests as this network reads them, the same examples in the same order; None: the race's own."""
    served: Served | None = None
    """None: it is not asked end to end."""


@dataclass(frozen=True)
class Block:
    """A stretch of runs without a pause. Blocks of one `round` stand beside those of the other contenders: ABBA."""

    process: int
    round: int
    position: int
    """Place in the round's order of blocks, over all contenders: 0, 1, 2, 3 for two contenders."""
    ns: tuple[int, ...]
    inputs: tuple[int, ...]
    cpu_s: float | None
    """Of the process that times; None where another one works."""
    wall_s: float
    load_before: float
    """One-minute load average of the machine."""
    load_after: float
    marks: tuple[tuple[int, ...], ...] = ()
    """Of a session that answers part by part: nanoseconds from each run's beginning to each part. Empty where an answer
    comes as one, at the end of its run. Of a whole request: to its inputs, and to the network's outputs."""

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Block":
        """What a worker's reply or `dataclasses.asdict` says of one, after a way through JSON."""
        marks = tuple(map(tuple, found.get("marks", ())))
        return cls(**{**found, "ns": tuple(found["ns"]), "inputs": tuple(found["inputs"]), "marks": marks})


@dataclass(frozen=True)
class Cold:
    """The cold start of one process: opening the artifact, and the first run. Never mixed with latency."""

    open_s: float
    first_run_ms: float


@dataclass(frozen=True)
class Timing:
    """One contender's part of a race. `failure` says why there are no figures, in the session's own words."""

    name: str
    blocks: tuple[Block, ...] = ()
    cold: tuple[Cold, ...] = ()
    rows_per_s: tuple[float, ...] = ()
    """Throughput per process: requests back to back, `in_flight` at once, no clock between them."""
    batch: int = 1
    peak_rss_mb: float = 0.0
    """Largest resident memory of any of its processes; 0 where it is not known."""
    device: DeviceTimes | None = None
    """Where a request's time goes on a device; None on a processor, and of a session without a stream."""
    peak_device_mb: float | None = None
    """What it took of the device's memory; None on a processor."""
    threads: int = 0
    in_flight: int = 1
    """Requests at once when throughput was taken."""
    describe: Mapping[str, str] = field(default_factory=dict)
    """What the session says is really active."""
    sizes: tuple[int, ...] = ()
    """Elements of each input, by the places in `Block.inputs`."""
    decision: str = ""
    """Why the race ended: settled or capped, in a sentence."""
    settled: bool = False
    failure: str = ""
    end_to_end: tuple[Block, ...] = ()
    """Whole requests, from rows to answers, in rounds of their own; empty where none were timed."""
    not_end_to_end: str = ""
    """Why not, where they were to be."""
    crowded: tuple[Block, ...] = ()
    """Requests beside a busy neighbour, in rounds of their own; empty where none were timed."""
    not_crowded: str = ""
    """Why not, where they were to be."""

    @property
    def samples_ms(self) -> Doubles:
        """Every sample, in the order taken."""
        return _ms(self.blocks)

    @property
    def inputs(self) -> NDArray[np.int64]:
        """The input of every sample, in the same order."""
        return np.array([place for block in self.blocks for place in block.inputs], dtype=np.int64)

    def by_phase(self) -> dict[str, list[list[Doubles]]]:
        """Milliseconds per process and block of each of `PHASES`. Empty where answers come as one."""
        found: dict[str, list[list[Doubles]]] = {}
        for name, spans_of in PHASES.items():
            taken: dict[int, list[Doubles]] = {}
            for block in self.blocks:
                spans = [span for run in block.marks for span in spans_of(run)]
                if spans:
                    taken.setdefault(block.process, []).append(np.array(spans, dtype=np.float64) / 1e6)
            found[name] = list(taken.values())
        return found if all(found.values()) else {}

    @property
    def cpu_s(self) -> float | None:
        """Processor time of all blocks, all threads together; None where another process works."""
        known = [block.cpu_s for block in self.blocks if block.cpu_s is not None]
        return sum(known) if len(known) == len(self.blocks) else None

    @property
    def cpu_ms_per_run(self) -> float | None:
        """Mean processor time of one run; None where it is not known."""
        runs = sum(len(block.ns) for block in self.blocks)
        return 1e3 * self.cpu_s / runs if runs and self.cpu_s is not None else None

    def by_process(self) -> list[list[Doubles]]:
        """Milliseconds per process and block, in the order taken."""
        processes = sorted({block.process for block in self.blocks})
        return [[_ms([b]) for b in self.blocks if b.process == process] for process in processes]

    def by_round(self) -> list[list[Doubles]]:
        """Milliseconds per process and ABBA round: a round's two blocks joined."""
        grouped: dict[int, dict[int, list[Block]]] = {}
        for block in self.blocks:
            grouped.setdefault(block.process, {}).setdefault(block.round, []).append(block)
        return [[_ms(grouped[p][r]) for r in sorted(grouped[p])] for p in sorted(grouped)]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Timing":
        blocks = {name: tuple(map(Block.from_json, found[name])) for name in ("blocks", "end_to_end", "crowded")}
        cold = tuple(Cold(**each) for each in found["cold"])
        plain = {name: tuple(found[name]) for name in ("rows_per_s", "sizes")}
        device = DeviceTimes(**found["device"]) if found["device"] else None
        return cls(**{**found, **blocks, "cold": cold, "device": device, **plain})


def _ms(blocks: Sequence[Block]) -> Doubles:
    return np.array([ns for block in blocks for ns in block.ns], dtype=np.float64) / 1e6
