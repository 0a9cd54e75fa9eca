"""The race: contenders in fresh processes, timed in interleaved blocks, so that what drifts hits all of them alike."""

import itertools
import math
import tempfile
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from kd2deploy.core import Feed, Target
from kd2deploy.errors import Kd2DeployError, MeasureError
from kd2deploy.measure.feeds import write_feeds
from kd2deploy.measure.intervals import Figure, Interval
from kd2deploy.measure.loop import spread_order
from kd2deploy.measure.processes import WorkerProcess, with_threads
from kd2deploy.measure.statistics import Ratio, percentile, ratio_of_medians
from kd2deploy.measure.stop_rule import Decision, State, StopRule, decide
from kd2deploy.measure.timing import Block, Cold, Contender, Timing

LEAST_ROUNDS = 2
"""Rounds per process from which their spread can be seen at all."""
OnProgress = Callable[[str, float], None]
"""Called with a sentence and the share done, 0..1."""


class Asked(typing.Protocol):
    """A worker as the race sees it: `WorkerProcess`, or a simulated one in tests."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def open(self) -> dict[str, Any]: ...
    def ask(self, do: str, **arguments: Any) -> dict[str, Any]: ...


Connect = Callable[[Contender, Mapping[str, Any], Target, float], Asked]


@dataclass(frozen=True)
class Protocol:
    """How a race is run. `full()` is what a verdict rests on, `quick()` what rejects a student before training."""

    processes: int = 5
    """Fresh processes per contender; three are the least from which their differences can be judged."""
    warm_s: float = 0.2
    warm_runs: int = 10
    block_warm_s: float = 0.05
    """Warm-up of every later block: the other contenders have just used the caches and the cores."""
    block_warm_runs: int = 3
    block_s: float = 0.2
    least_runs: int = 9
    """Least runs of a block; odd, so that its median is a sample."""
    throughput_s: float = 0.5
    in_flight: int = 1
    """Requests at once when throughput is taken."""
    least_rounds: int = 6
    """Least ABBA rounds per process."""
    stop: StopRule = field(default_factory=StopRule)
    gated: tuple[str, ...] | None = None
    """Contenders whose `stop.percentile` gates; the others need a median only. None: all of them."""
    timeout_s: float = 600.0


def full(percentile: float = 0.5, gated: tuple[str, ...] | None = None) -> Protocol:
    """Five processes until the rules of `StopRule` hold; `percentile` is the one that gates (0.99 for `p99_ms`) for the
    contenders named in `gated`."""
    return Protocol(stop=StopRule(percentile=percentile), gated=gated)


def quick() -> Protocol:
    """One process and a few seconds: enough to tell 2x from 1x, and never the ground of a verdict."""
    return Protocol(
        processes=1, block_s=0.05, throughput_s=0.0, least_rounds=8, stop=StopRule(min_s=0.5, relative=0.03, cap_s=10.0)
    )


def race(
    contenders: Sequence[Contender],
    task_spec: Mapping[str, Any],
    target: Target,
    feeds: Sequence[Feed],
    plan: Protocol | None = None,
    on_progress: OnProgress = lambda sentence, share: None,
    *,
    connect: Connect = WorkerProcess,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Timing]:
    """Time every contender on the same inputs; one that dies or refuses is reported in `Timing.failure`.

    `feeds` are single requests of `target.workload.batch` rows, drawn from the evaluation set.
    """
    names = [contender.name for contender in contenders]
    if len(set(names)) < len(names):
        raise MeasureError(f"contenders need names of their own, got {names}")
    if not feeds:
        raise MeasureError("a race needs at least one input; draw some from the evaluation set")
    plan = plan or full()
    odd = [contender.name for contender in contenders if len(contender.feeds or feeds) != len(feeds)]
    if odd:
        raise MeasureError(f"{odd[0]} was given other requests than the rest; give each contender the same examples")
    order = spread_order([elements(feed) for feed in feeds])
    lanes = [Lane(contender) for contender in contenders]
    with tempfile.TemporaryDirectory(prefix="kd2deploy-race-") as folder:
        shared = write_feeds([feeds[place] for place in order], Path(folder, "shared"))
        folders = {
            contender.name: write_feeds([contender.feeds[place] for place in order], Path(folder, f"own-{turn}"))
            for turn, contender in enumerate(contenders)
            if contender.feeds is not None
        }
        for process in range(plan.processes):
            heat = Heat(process, [lane for lane in lanes if not lane.failure], plan, len(order), clock)
            with ExitStack() as stack:
                for lane in heat.lanes:
                    worker = connect(lane.contender, lane.contender.task_spec or task_spec, target, plan.timeout_s)
                    heat.workers[lane.contender.name] = stack.enter_context(worker)
                heat.run(
                    {lane.contender.name: folders.get(lane.contender.name, shared) for lane in heat.lanes}, on_progress
                )
    sizes = tuple(elements(feeds[place]) for place in order)
    batch, threads = target.workload.batch, with_threads(target).threads
    return {lane.contender.name: lane.timing(sizes, batch, threads) for lane in lanes}


def elements(feed: Feed) -> int:
    """Size of one input: the elements of its largest array."""
    return max((int(array.size) for array in feed.values()), default=0)


@dataclass
class Lane:
    """What is gathered of one contender while the race runs."""

    contender: Contender
    blocks: list[Block] = field(default_factory=list)
    cold: list[Cold] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    describe: Mapping[str, str] = field(default_factory=dict)
    peak_rss_mb: float = 0.0
    run_ns: float = 0.0
    decisions: list[Decision] = field(default_factory=list)
    failure: str = ""

    def timing(self, sizes: tuple[int, ...], batch: int, threads: int) -> Timing:
        """The gathered figures; a contender that failed keeps none of its samples, since the rest lacks its pairs."""
        name = self.contender.name
        if self.failure:
            return Timing(name, describe=self.describe, batch=batch, threads=threads, failure=self.failure)
        unsettled = [decision for decision in self.decisions if decision.state is not State.SETTLED]
        return Timing(
            name,
            blocks=tuple(self.blocks),
            cold=tuple(self.cold),
            rows_per_s=tuple(batch * per_s for per_s in self.per_s),
            batch=batch,
            peak_rss_mb=self.peak_rss_mb,
            threads=threads,
            describe=self.describe,
            sizes=sizes,
            decision=(unsettled or self.decisions)[-1].reason,
            settled=not unsettled,
        )


class Heat:
    """One fresh process per contender, all alive together, timed in ABBA rounds until every one of them settles."""

    def __init__(
        self, process: int, lanes: Sequence[Lane], plan: Protocol, inputs: int, clock: Callable[[], float]
    ) -> None:
        self.process, self.lanes, self.plan, self.inputs, self.clock = process, lanes, plan, inputs, clock
        self.rule = plan.stop.share(plan.processes)
        self.median_rule = replace(plan.stop, percentile=0.5).share(plan.processes)
        self.workers: dict[str, Asked] = {}

    def run(self, folders: Mapping[str, Path], on_progress: OnProgress) -> None:
        place, done = f"process {self.process + 1} of {self.plan.processes}", self.process / self.plan.processes
        for lane in self.lanes:
            on_progress(f"{place}: {lane.contender.name} opens", done)
            self.attempt(lane, partial(self.start, lane, folders[lane.contender.name]))
        begun = self.clock()
        for turn in itertools.count():
            on_progress(f"{place}: round {turn + 1}", done)
            self.round(turn)
            if self.finished(turn, self.clock() - begun):
                break
        for lane in self.alive():
            self.attempt(lane, partial(self.finish, lane))

    def alive(self) -> list[Lane]:
        return [lane for lane in self.lanes if not lane.failure]

    def attempt(self, lane: Lane, step: Callable[[], None]) -> None:
        """One step of one contender; its error ends this contender's race and nobody else's."""
        try:
            step()
        except Kd2DeployError as error:
            lane.failure = str(error)
            self.workers[lane.contender.name].__exit__(None, None, None)

    def start(self, lane: Lane, folder: Path) -> None:
        worker = self.workers[lane.contender.name]
        opened = worker.open()
        lane.describe = opened["describe"]
        warmed = worker.ask("warm", feeds=str(folder), seconds=self.plan.warm_s, runs=self.plan.warm_runs)
        lane.cold.append(Cold(opened["open_s"], warmed["first_run_ms"]))
        lane.run_ns = warmed["run_ns"]

    def round(self, turn: int) -> None:
        """Each contender twice, there and back (A B B A), on inputs that start at the same place."""
        order = self.alive()
        for position, lane in enumerate([*order, *reversed(order)]):
            if not lane.failure:
                half = 2 * turn + (position >= len(order))
                self.attempt(lane, partial(self.block, lane, turn, position, half))

    def block(self, lane: Lane, turn: int, position: int, half: int) -> None:
        golden = (5**0.5 - 1) / 2
        runs = max(self.plan.least_runs, int(self.plan.block_s * 1e9 / max(1.0, lane.run_ns))) | 1
        found = self.workers[lane.contender.name].ask(
            "time",
            start=int(half * golden * self.inputs) % self.inputs,
            runs=runs,
            warm_s=self.plan.block_warm_s,
            warm_runs=self.plan.block_warm_runs,
        )
        found.update(ns=tuple(found["ns"]), inputs=tuple(found["inputs"]))
        lane.blocks.append(Block(process=self.process, round=turn, position=position, **found))

    def finished(self, turn: int, elapsed_s: float) -> bool:
        """Whether all have settled, or the cap (wall clock per contender) is reached."""
        alive = self.alive()
        if not alive:
            return True
        decisions = {lane.contender.name: self.decide(lane, elapsed_s / len(alive)) for lane in alive}
        states = {decision.state for decision in decisions.values()}
        capped = State.CAPPED in states
        if not capped and (turn + 1 < self.plan.least_rounds or State.CONTINUE in states):
            return False
        for lane in alive:
            lane.decisions.append(decisions[lane.contender.name])
        return True

    def decide(self, lane: Lane, elapsed_s: float) -> Decision:
        blocks = [np.array(block.ns) / 1e6 for block in lane.blocks if block.process == self.process]
        gates = self.plan.gated is None or lane.contender.name in self.plan.gated
        return decide(blocks, elapsed_s, self.rule if gates else self.median_rule)

    def finish(self, lane: Lane) -> None:
        worker = self.workers[lane.contender.name]
        said = worker.ask("describe")  # before throughput, whose further sessions are not this one's memory
        lane.describe, lane.peak_rss_mb = said["describe"], max(lane.peak_rss_mb, said["peak_rss_mb"])
        if self.plan.throughput_s > 0:
            asked = {"seconds": self.plan.throughput_s, "in_flight": self.plan.in_flight}
            lane.per_s.append(worker.ask("throughput", **asked)["per_s"])
        if self.plan.in_flight > 1:
            lane.describe = {**lane.describe, "throughput": f"with {self.plan.in_flight} requests in flight"}
        worker.ask("close")


def speedup(slow: Timing, fast: Timing) -> Ratio:
    """Ratio of the median latencies of two contenders of the same race, slow / fast.

    Where the race was cut off before its second round the interval is endless, so that nothing can be concluded. Raises
    MeasureError if either of them failed.
    """
    for timing in (slow, fast):
        if timing.failure:
            raise MeasureError(f"{timing.name} was not timed: {timing.failure}")
    if min(len(rounds) for timing in (slow, fast) for rounds in timing.by_round()) < LEAST_ROUNDS:
        typical = float(np.median(slow.samples_ms) / np.median(fast.samples_ms))
        return Ratio(Interval(typical, 0.0, math.inf), (), covers_processes=False)
    return ratio_of_medians(slow.by_round(), fast.by_round())


def latency_percentile(timing: Timing, share: float) -> Figure:
    """A percentile of one contender's latency in ms, over all its processes; `share` 0.99 for P99.

    Raises MeasureError if it failed.
    """
    if timing.failure:
        raise MeasureError(f"{timing.name} was not timed: {timing.failure}")
    return percentile(timing.by_process(), share)
