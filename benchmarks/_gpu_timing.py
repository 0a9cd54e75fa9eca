"""Calls timed side by side, in rounds A B B A: one host clock around calls that wait for the device."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kd2deploy.measure.intervals import TooFew
from kd2deploy.measure.statistics import Doubles, noise, percentile, ratio_of_medians

Call = Callable[[], Any]


@dataclass(frozen=True)
class Protocol:
    """How one figure is taken. `seconds` is what is timed of each call; the warm-up comes on top of it."""

    seconds: float
    warm_s: float = 0.2
    warm_runs: int = 10
    rounds: int = 4
    block_warm_runs: int = 3
    """Before each block: another call has just used the caches."""
    least_runs: int = 2
    """Of one block; a round has two blocks of each call."""


def warm(call: Call, protocol: Protocol) -> None:
    begun, runs = time.perf_counter(), 0
    while runs < protocol.warm_runs or time.perf_counter() - begun < protocol.warm_s:
        call()
        runs += 1


def side_by_side(calls: Mapping[str, Call], protocol: Protocol) -> dict[str, list[Doubles]]:
    """Milliseconds of each call by round, all of them warm already."""
    found: dict[str, list[Doubles]] = {name: [] for name in calls}
    for _ in range(protocol.rounds):
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for name in (*calls, *reversed(list(calls))):
            taken[name] += block(calls[name], protocol)
        for name, samples in taken.items():
            found[name].append(np.array(samples))
    return found


def block(call: Call, protocol: Protocol) -> list[float]:
    for _ in range(protocol.block_warm_runs):
        call()
    taken: list[float] = []
    share_ms = 1e3 * protocol.seconds / (2 * protocol.rounds)
    while len(taken) < protocol.least_runs or sum(taken) < share_ms:
        begun = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - begun) / 1e6)
    return taken


def figure(rounds: Sequence[Doubles]) -> dict[str, Any]:
    """Median with its 95 % interval, least, and P90 where there are samples enough to state one; milliseconds."""
    samples = np.concatenate(list(rounds))
    median, p90 = percentile([rounds], 0.5), percentile([rounds], 0.9)
    ends = {"low": None, "high": None} if isinstance(median, TooFew) else median.to_json()
    return {
        "median": float(np.median(samples)),
        "low": ends["low"],
        "high": ends["high"],
        "least": float(samples.min()),
        "p90": None if isinstance(p90, TooFew) else p90.estimate,
        "p90_needs": p90.needs if isinstance(p90, TooFew) else 0,
        "samples": len(samples),
        "flags": list(noise(samples).flags),
    }


def times_faster(slow: Sequence[Doubles], fast: Sequence[Doubles]) -> dict[str, float | None]:
    """Ratio of medians with its 95 % interval, of this one process."""
    return ratio_of_medians([slow], [fast]).interval.to_json()
