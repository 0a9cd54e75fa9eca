"""What a race of equals came to: pairs whose interval excludes 1, and whether any place was favoured."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kd2deploy.measure.latency import speedup, throughput
from kd2deploy.measure.order import ordered, row_of
from kd2deploy.measure.protocol import Protocol
from kd2deploy.measure.timing import Timing

GATE = 1.05


@dataclass(frozen=True)
class Raced:
    """One race of copies of one file; shares of time are logarithms of ratios, 0.01 is about 1 %."""

    file: str
    state: str
    """`quiet` or `busy`, as it was asked for."""
    copies: int
    pairs: tuple[tuple[int, int, float, float, float], ...]
    """Places in the list of either copy; estimate, low and high of their ratio, the earlier over the later."""
    by_place: tuple[float, ...]
    """By place in the list: how much longer that copy takes than the mean of all."""
    by_start: tuple[float, ...]
    """By place in the order of starting: the same, mean over the processes."""
    by_turn: tuple[float, ...]
    """By turn within a round, there and back: how much longer a block takes than the mean of its copy's process."""
    served: tuple[float, ...]
    """Throughput times mean latency of every copy."""
    median_ms: float
    settled: int
    """How many copies settled before the cap."""
    others: float
    """Cores that others used meanwhile, on average."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Raced":
        lists = {name: tuple(found[name]) for name in ("by_place", "by_start", "by_turn", "served")}
        return cls(**{**found, **lists, "pairs": tuple(tuple(pair) for pair in found["pairs"])})


def raced(timings: Sequence[Timing], plan: Protocol, *, file: str, state: str, others: float, seconds: float) -> Raced:
    """Of copies in the order of the list. Raises MeasureError where one failed."""
    pairs = []
    for (i, one), (j, other) in itertools.combinations(enumerate(timings), 2):
        interval = speedup(one, other).interval
        pairs.append((i, j, interval.estimate, interval.low, interval.high))
    centres = process_centres(timings)
    starts = [ordered(range(len(timings)), row_of(process, 0, plan.least_rounds)) for process in range(len(centres))]
    by_start = np.mean([own[order] for own, order in zip(centres, starts, strict=True)], axis=0)
    return Raced(
        file=file,
        state=state,
        copies=len(timings),
        pairs=tuple(pairs),
        by_place=tuple(centres.mean(axis=0).tolist()),
        by_start=tuple(by_start.tolist()),
        by_turn=tuple(turn_effects(timings)),
        served=tuple(served(timing) for timing in timings),
        median_ms=float(np.median(np.concatenate([timing.samples_ms for timing in timings]))),
        settled=sum(timing.settled for timing in timings),
        others=others,
        seconds=seconds,
    )


def process_centres(timings: Sequence[Timing]) -> Any:
    """[processes, copies]: mean log median of a copy's rounds, less the mean of all copies."""
    logs = np.array(
        [[np.mean([math.log(np.median(ms)) for ms in rounds]) for rounds in timing.by_round()] for timing in timings]
    ).T
    return logs - logs.mean(axis=1, keepdims=True)


def turn_effects(timings: Sequence[Timing]) -> list[float]:
    """By turn: the mean over processes, rounds and copies of a block's log median less its copy's mean there.

    Only whole rounds in which nobody failed have every turn.
    """
    turns: dict[int, list[float]] = {}
    for timing in timings:
        for process in sorted({block.process for block in timing.blocks}):
            blocks = [block for block in timing.blocks if block.process == process]
            logs = [math.log(float(np.median(block.ns))) for block in blocks]
            for block, log in zip(blocks, logs, strict=True):
                turns.setdefault(block.position, []).append(log - float(np.mean(logs)))
    return [float(np.mean(turns[turn])) for turn in sorted(turns)]


def served(timing: Timing) -> float:
    """Throughput times mean latency, which is 1 with one request in flight."""
    rate = throughput(timing)
    return math.nan if rate is None else rate.estimate / timing.batch * float(timing.samples_ms.mean()) / 1e3


def excludes(pair: Sequence[float]) -> bool:
    return not pair[3] <= 1 <= pair[4]


def passes(pair: Sequence[float]) -> bool:
    """Whether a gate of 1.05 would pass by chance, whichever of the two is called the student."""
    return pair[3] >= GATE or 1 / pair[4] >= GATE


def pair_rows(races: Sequence[Raced]) -> list[dict[str, Any]]:
    """One row per state and file, and one per state over all its files."""
    rows = []
    for state in sorted({one.state for one in races}, reverse=True):
        ours = [one for one in races if one.state == state]
        for file in [*sorted({one.file for one in ours}), "all"]:
            some = [one for one in ours if file in (one.file, "all")]
            pairs = [pair for one in some for pair in one.pairs]
            copies = sum(one.copies for one in some)
            rows.append(
                {
                    "machine": state,
                    "file": file,
                    "median ms": "" if file == "all" else float(np.mean([one.median_ms for one in some])),
                    "races": len(some),
                    "copies": copies,
                    "pairs": len(pairs),
                    "intervals that exclude 1": percent(sum(map(excludes, pairs)), len(pairs)),
                    "gate of 1.05 passed": percent(sum(map(passes, pairs)), len(pairs)),
                    "half-width, median": f"{np.median([(pair[4] - pair[3]) / 2 for pair in pairs]):.2%}",
                    "settled": f"{sum(one.settled for one in some)} of {copies}",
                    "throughput x latency": "{:.2f} [{:.2f}, {:.2f}]".format(
                        *np.quantile([share for one in some for share in one.served], [0.5, 0.0, 1.0])
                    ),
                    "others' cores": float(np.mean([one.others for one in some])),
                    "seconds": float(np.mean([one.seconds for one in some])),
                }
            )
    return rows


def place_rows(races: Sequence[Raced]) -> list[dict[str, Any]]:
    """How much longer the first, the last and the other places take, with 95 % intervals over the races."""
    rows = []
    for state in sorted({one.state for one in races}, reverse=True):
        ours = [one for one in races if one.state == state]
        for what, values in (
            ("in the list", [one.by_place for one in ours]),
            ("among those started", [one.by_start for one in ours]),
            ("of a round's turns", [one.by_turn for one in ours]),
        ):
            rows.append(
                {
                    "machine": state,
                    "place": what,
                    "first": shift([each[0] for each in values]),
                    "second": shift([each[1] for each in values]),
                    "last": shift([each[-1] for each in values]),
                    "largest of any place": f"{max(abs(np.mean(each)) for each in zip(*values, strict=False)):.2%}",
                }
            )
    return rows


def shift(values: Sequence[float]) -> str:
    """Mean over the races in per cent, with Student's interval."""
    from kd2deploy.measure.statistics import t_interval

    found = t_interval(np.array(values))
    return f"{found.estimate:+.2%} [{found.low:+.2%}, {found.high:+.2%}]"


def percent(count: int, of: int) -> str:
    return f"{count / of:.1%} ({count})" if of else "n/a"
