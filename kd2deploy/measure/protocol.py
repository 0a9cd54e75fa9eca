"""How a race is run: how many processes, how long the turns, when it stops."""

import math
from dataclasses import dataclass, field, replace

from kd2deploy.measure.stop_rule import StopRule

CROWDED_SHARE = 0.25
"""Of the rounds' time, for rounds beside a busy neighbour where these are wanted. Ours."""


@dataclass(frozen=True)
class Protocol:
    """`full()` is what a verdict rests on, `quick()` what rejects a student before training."""

    processes: int = 5
    """Fresh processes per contender; three are the least from which their differences can be judged."""
    warm_s: float = 0.2
    warm_runs: int = 10
    block_warm_s: float = 0.03
    """Warm-up of every later block: the other contenders have just used the caches and the cores."""
    block_warm_runs: int = 3
    block_s: float = 0.05
    least_runs: int = 9
    """Least runs of a block; odd, so that its median is a sample. Requests so slow that two rounds of such blocks do
    not fit below the cap get shorter ones."""
    throughput_s: float = 0.3
    end_to_end_share: float = 0.2
    """Of the wall clock that the rounds took: for rounds of whole requests, from rows to answers, behind them."""
    crowded_share: float = 0.0
    """Of the same: for rounds of requests beside a busy neighbour, the last of all."""
    in_flight: int = 1
    """Requests at once when throughput is taken, behind all that is timed."""
    least_rounds: int = 6
    """Least rounds per process."""
    stop: StopRule = field(default_factory=StopRule)
    gated: tuple[str, ...] | None = None
    """Contenders whose `stop.percentile` gates; the others need a median only. None: all of them."""
    timeout_s: float = 600.0

    @property
    def longest_block_s(self) -> float:
        """What leaves room for two rounds, there and back, before the cap."""
        return self.stop.cap_s / self.processes / 4

    def runs(self, run_ns: float, samples: int = 0) -> int:
        """Timed runs of a block, an odd number, for a contender that takes `run_ns` nanoseconds for one and is to bring
        `samples` in the least number of rounds."""
        run_s = max(run_ns, 1.0) / 1e9
        wanted = max(self.least_runs, int(self.block_s / run_s), math.ceil(samples / (2 * self.least_rounds)) + 1)
        return max(1, min(wanted, int(self.longest_block_s / run_s)) - 1) | 1

    def whole_runs(self, run_ns: float) -> int:
        """Timed whole requests of a block, an odd number: fewer than of a network's runs, by the same bounds."""
        run_s = max(run_ns, 1.0) / 1e9
        most = int(self.longest_block_s / 3 / run_s)
        return max(1, min(max(3, int(self.block_s / 3 / run_s)), most) - 1) | 1

    def warming_runs(self, run_ns: float) -> int:
        """Least runs of a block's warm-up."""
        return max(1, min(self.block_warm_runs, int(self.longest_block_s / (max(run_ns, 1.0) / 1e9))))


def full(percentile: float = 0.5, gated: tuple[str, ...] | None = None) -> Protocol:
    """Five processes until the rules of `StopRule` hold; `percentile` is the one that gates (0.99 for `p99_ms`) for the
    contenders named in `gated`."""
    return Protocol(stop=StopRule(percentile=percentile), gated=gated)


def quick() -> Protocol:
    """One process and a few seconds: enough to tell 2x from 1x, and never the ground of a verdict."""
    return Protocol(
        processes=1, block_s=0.05, throughput_s=0.0, least_rounds=8, stop=StopRule(min_s=0.5, relative=0.03, cap_s=10.0)
    )


def turns() -> Protocol:
    """Quick rounds in one process, by which variants are told apart that differ much: shorter turns than `quick()`."""
    return replace(
        quick(),
        warm_s=0.1,
        warm_runs=5,
        block_warm_s=0.02,
        block_warm_runs=1,
        block_s=0.03,
        least_runs=3,
        end_to_end_share=0.0,
    )


LAST_S = 6.0
"""Most seconds per contender in the last race among variants. Ours."""


def last_race(cap_s: float = LAST_S) -> Protocol:
    """Three fresh processes and a second or two in each, by which the near-equal are told apart."""
    return Protocol(
        processes=3,
        throughput_s=0.0,
        end_to_end_share=0.0,
        least_rounds=4,
        stop=StopRule(min_s=1.5, cap_s=cap_s),
    )
