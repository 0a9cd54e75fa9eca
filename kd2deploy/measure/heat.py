"""One heat of the race: a fresh process per contender, all alive together, timed in turns until every one settles.

Nothing is timed while anything else of ours works: all processes are there before the first is opened, and none ends
before the last has been timed. Where they may be opened side by side, cold starts are not taken.
"""

import itertools
import typing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from kd2deploy.core.device_times import DeviceTimes
from kd2deploy.core.figures import count_of
from kd2deploy.errors import Kd2DeployError, MeasureError
from kd2deploy.measure.order import ordered, row_of, there_and_back
from kd2deploy.measure.processes import ended_with_their_workers
from kd2deploy.measure.protocol import Protocol
from kd2deploy.measure.statistics import LEAST_PROCESSES
from kd2deploy.measure.stop_rule import Decision, ShareRule, State, decide, without_common_drift
from kd2deploy.measure.timing import Block, Cold, Contender, Doubles, Timing

GOLDEN = (5**0.5 - 1) / 2
OnProgress = Callable[[str, float], None]
"""Called with a sentence and the share done, 0..1."""
Neighbour = Callable[[], AbstractContextManager[None]]
"""Somebody else who is at work on the machine meanwhile."""


class Asked(typing.Protocol):
    """A worker as the race sees it: `WorkerProcess`, or a simulated one in tests."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def open(self) -> dict[str, Any]: ...
    def ask(self, do: str, **arguments: Any) -> dict[str, Any]: ...


@dataclass
class Lane:
    """What is gathered of one contender while the race runs."""

    contender: Contender
    blocks: list[Block] = field(default_factory=list)
    cold: list[Cold] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    rates: dict[int, list[float]] = field(default_factory=dict)
    """Requests per second by round, where rounds are of throughput."""
    describe: Mapping[str, str] = field(default_factory=dict)
    peak_rss_mb: float = 0.0
    device: DeviceTimes | None = None
    peak_device_mb: float | None = None
    open_s: float = 0.0
    run_ns: float = 0.0
    decisions: list[Decision] = field(default_factory=list)
    failure: str = ""
    rows: Path | None = None
    """Where its requests lie as rows; None where it is not asked end to end."""
    whole: list[Block] = field(default_factory=list)
    """Whole requests."""
    whole_ns: float = 0.0
    not_whole: str = ""
    """Why it is not asked end to end any more."""
    crowded: list[Block] = field(default_factory=list)
    """Beside a busy neighbour."""
    crowded_ns: float = 0.0
    not_crowded: str = ""
    """Why it is not timed beside a neighbour any more."""

    @property
    def name(self) -> str:
        return self.contender.name

    def of_process(self, process: int) -> list[Block]:
        return [block for block in self.blocks if block.process == process]

    def timing(self, sizes: tuple[int, ...], batch: int, threads: int, in_flight: int = 1) -> Timing:
        """The gathered figures; a contender that failed keeps none of its samples, since the rest lacks its pairs."""
        if self.failure:
            return Timing(self.name, describe=self.describe, batch=batch, threads=threads, failure=self.failure)
        unsettled = [decision for decision in self.decisions if decision.state is not State.SETTLED]
        return Timing(
            self.name,
            blocks=tuple(self.blocks),
            cold=tuple(self.cold),
            rows_per_s=tuple(batch * per_s for per_s in self.per_s),
            batch=batch,
            peak_rss_mb=self.peak_rss_mb,
            device=self.device,
            peak_device_mb=self.peak_device_mb,
            threads=threads,
            in_flight=in_flight,
            describe=self.describe,
            sizes=sizes,
            decision=(unsettled or self.decisions)[-1].reason,
            settled=not unsettled,
            end_to_end=() if self.not_whole else tuple(self.whole),
            not_end_to_end=self.not_whole,
            crowded=() if self.not_crowded else tuple(self.crowded),
            not_crowded=self.not_crowded,
        )


class Heat:
    """`at_once` contenders may be opened side by side; 1 takes cold starts."""

    def __init__(
        self,
        process: int,
        lanes: Sequence[Lane],
        plan: Protocol,
        inputs: int,
        clock: Callable[[], float],
        at_once: int = 1,
        neighbour: Neighbour = nullcontext,
    ) -> None:
        self.process, self.lanes, self.plan, self.inputs, self.clock = process, lanes, plan, inputs, clock
        self.at_once, self.neighbour = at_once, neighbour
        self.rule = plan.stop.share(plan.processes)
        self.median_rule = replace(plan.stop, percentile=0.5).share(plan.processes)
        self.workers: dict[str, Asked] = {}

    def run(self, folders: Mapping[str, Path], on_progress: OnProgress) -> None:
        place, processes = f"process {self.process + 1} of {self.plan.processes}", self.plan.processes
        on_progress(f"{place}: {count_of(len(self.lanes), 'contender')} open", self.process / processes)
        self.start(folders)
        begun = self.clock()
        for turn in itertools.count():
            done = min(1.0, turn / self.plan.least_rounds)
            on_progress(f"{place}: round {turn + 1}", (self.process + done) / processes)
            self.round(turn)
            if self.finished(turn, self.clock() - begun):
                break
        rounds_s = self.clock() - begun
        for lane in self.in_order(turn):
            self.attempt(lane, partial(self.describe, lane))
        on_progress(f"{place}: end to end", (self.process + 1) / processes)
        self.end_to_end(self.plan.end_to_end_share * rounds_s)
        if self.plan.crowded_share:
            on_progress(f"{place}: beside a neighbour", (self.process + 1) / processes)
            self.beside_a_neighbour(self.plan.crowded_share * rounds_s)
        on_progress(f"{place}: throughput", (self.process + 1) / processes)
        for step in (self.throughput, self.close):
            for lane in self.in_order(turn):
                self.attempt(lane, partial(step, lane))

    def alive(self) -> list[Lane]:
        return [lane for lane in self.lanes if not lane.failure]

    def in_order(self, turn: int = 0) -> list[Lane]:
        """The living contenders, in the order of a round's first half."""
        return [lane for lane in ordered(self.lanes, self.row(turn)) if not lane.failure]

    def row(self, turn: int) -> int:
        return row_of(self.process, turn, self.plan.least_rounds)

    def attempt(self, lane: Lane, step: Callable[[], None]) -> None:
        """One step of one contender; its error ends this contender's race and nobody else's."""
        try:
            step()
        except Kd2DeployError as error:
            lane.failure = str(error)
            self.workers[lane.name].__exit__(None, None, None)

    # starting -----------------------------------------------------------------------------------------------

    def start(self, folders: Mapping[str, Path]) -> None:
        for lane in self.in_order():
            self.attempt(lane, partial(self.wake, lane))
        if self.at_once == 1:
            for lane in self.in_order():
                self.attempt(lane, partial(self.open, lane))
                if not lane.failure:
                    self.attempt(lane, partial(self.warm, lane, folders[lane.name]))
            return
        with ended_with_their_workers(ThreadPoolExecutor(self.at_once)) as pool:
            list(pool.map(lambda lane: self.attempt(lane, partial(self.open, lane)), self.in_order()))
        for lane in self.in_order():
            self.attempt(lane, partial(self.warm, lane, folders[lane.name]))

    def wake(self, lane: Lane) -> None:
        self.workers[lane.name].ask("wake")

    def open(self, lane: Lane) -> None:
        opened = self.workers[lane.name].open()
        lane.describe, lane.open_s = opened["describe"], opened["open_s"]

    def warm(self, lane: Lane, folder: Path) -> None:
        warmed = self.workers[lane.name].ask(
            "warm", feeds=str(folder), seconds=self.plan.warm_s, runs=self.plan.warm_runs
        )
        lane.run_ns = warmed["run_ns"]
        if self.at_once == 1:
            lane.cold.append(Cold(lane.open_s, warmed["first_run_ms"]))

    def leave(self, lane: Lane) -> None:
        """One contender ends before the others, and has no further turn; it frees what it held."""
        self.attempt(lane, partial(self.close, lane))
        self.workers[lane.name].__exit__(None, None, None)
        self.lanes = [one for one in self.lanes if one is not lane]

    # timing -------------------------------------------------------------------------------------------------

    def round(self, turn: int) -> None:
        """Each contender twice, there and back, on inputs that start at the same place."""
        for position, lane in enumerate(there_and_back(self.lanes, self.row(turn))):
            if not lane.failure:
                half = 2 * turn + (position >= len(self.lanes))
                self.attempt(lane, partial(self.block, lane, turn, position, half))

    def round_of_rates(self, turn: int) -> None:
        """The same of throughput, whose sessions stay open for the next round: no latency is timed behind it."""

        def take(lane: Lane) -> None:
            lane.rates.setdefault(turn, []).append(self.rate(lane, keep=True))

        for lane in there_and_back(self.lanes, self.row(turn)):
            if not lane.failure:
                self.attempt(lane, partial(take, lane))

    def timed(self, lane: Lane, run_ns: float, half: int) -> dict[str, Any]:
        """One block of a contender that takes about `run_ns` for a run."""
        return self.workers[lane.name].ask(
            "time",
            start=int(half * GOLDEN * self.inputs) % self.inputs,
            runs=self.plan.runs(run_ns, self.rule_of(lane).least),
            warm_s=self.plan.block_warm_s,
            warm_runs=self.plan.warming_runs(run_ns),
        )

    def block(self, lane: Lane, turn: int, position: int, half: int) -> None:
        found = self.timed(lane, lane.run_ns, half)
        place = {"process": self.process, "round": turn, "position": position}
        lane.blocks.append(Block.from_json({**found, **place}))
        # The next block is as long as asked on the machine as it is now: in use by others, a mean is many medians.
        lane.run_ns = float(np.mean(found["ns"]))

    def finished(self, turn: int, elapsed_s: float) -> bool:
        """Whether all have settled, or the cap (wall clock per contender) is reached."""
        alive = self.alive()
        if not alive:
            return True
        medians = without_common_drift([self.round_medians(lane, turn + 1) for lane in alive])
        decisions = [self.decide(lane, own, elapsed_s / len(alive)) for lane, own in zip(alive, medians, strict=True)]
        states = {decision.state for decision in decisions}
        least = 1 if self.plan.processes >= LEAST_PROCESSES else 2  # what an interval can be made of
        if State.CAPPED in states and turn + 1 < least:
            return False
        if State.CAPPED not in states and (turn + 1 < self.plan.least_rounds or State.CONTINUE in states):
            return False
        for lane, decision in zip(alive, decisions, strict=True):
            lane.decisions.append(decision)
        return True

    def round_medians(self, lane: Lane, rounds: int) -> Doubles:
        """[R] log median milliseconds of this process's rounds so far."""
        own = lane.of_process(self.process)
        by_round = [[ns for block in own if block.round == turn for ns in block.ns] for turn in range(rounds)]
        return np.log(np.array([np.median(each) for each in by_round]) / 1e6)

    def decide(self, lane: Lane, medians: Doubles, elapsed_s: float) -> Decision:
        blocks = [np.array(block.ns) / 1e6 for block in lane.of_process(self.process)]
        return decide(blocks, medians, elapsed_s, self.rule_of(lane))

    def rule_of(self, lane: Lane) -> ShareRule:
        gates = self.plan.gated is None or lane.name in self.plan.gated
        return self.rule if gates else self.median_rule

    # ending -------------------------------------------------------------------------------------------------

    def describe(self, lane: Lane) -> None:
        said = self.workers[lane.name].ask("describe")  # before throughput, whose further sessions add memory
        lane.describe, lane.peak_rss_mb = said["describe"], max(lane.peak_rss_mb, said["peak_rss_mb"])
        lane.device = DeviceTimes(**said["device"]) if "device" in said else None
        lane.peak_device_mb = said.get("peak_device_mb")
        if self.plan.in_flight > 1:
            lane.describe = {**lane.describe, "throughput": f"with {self.plan.in_flight} requests in flight"}

    def throughput(self, lane: Lane) -> None:
        """Warmed first: the others have had their turns since. None of them has ended yet, which would take a core."""
        if self.plan.throughput_s > 0:
            lane.per_s.append(self.rate(lane))

    def rate(self, lane: Lane, **further: Any) -> float:
        """Requests per second of a contender, in a stretch of the plan's length."""
        asked = {"seconds": self.plan.throughput_s, "in_flight": self.plan.in_flight, **further}
        warm = {"warm_s": self.plan.block_warm_s, "warm_runs": self.plan.warming_runs(lane.run_ns)}
        return float(self.workers[lane.name].ask("throughput", **asked, **warm)["per_s"])

    # end to end ---------------------------------------------------------------------------------------------

    def end_to_end(self, seconds: float) -> None:
        """Rounds of whole requests in the orders of the others, for so long."""
        for lane in filter(self.is_asked, self.in_order()):
            self.attempt_whole(lane, partial(self.read, lane))

        def block(lane: Lane, half: int, position: int) -> None:
            self.attempt_whole(lane, partial(self.whole_block, lane, half, position))

        self.by_turns(self.is_asked, block, seconds)

    def by_turns(
        self, takes_part: Callable[[Lane], bool], block: Callable[[Lane, int, int], None], seconds: float
    ) -> None:
        """Blocks in the orders of the rounds, there and back, for so long: at least one way, or into a second round
        where few processes must bound a ratio."""
        least, begun = 1 if self.plan.processes >= LEAST_PROCESSES else 3, self.clock()
        for half in itertools.count():
            order = ordered(self.lanes, self.row(half // 2))
            for position, lane in enumerate(reversed(order) if half % 2 else order, start=half % 2 * len(order)):
                if takes_part(lane):
                    block(lane, half, position)
            over = half + 1 >= least and self.clock() - begun >= seconds
            if over or not any(map(takes_part, self.lanes)):
                return

    @staticmethod
    def is_asked(lane: Lane) -> bool:
        return lane.rows is not None and not lane.not_whole and not lane.failure

    def attempt_whole(self, lane: Lane, step: Callable[[], None]) -> None:
        """One step of one contender; its error ends what it is asked end to end, and leaves its timing."""
        try:
            step()
        except Kd2DeployError as error:
            lane.not_whole = str(error)

    def read(self, lane: Lane) -> None:
        served = lane.contender.served
        assert served is not None
        lane.whole_ns = self.workers[lane.name].ask(
            "read",
            rows=str(lane.rows),
            batch=len(served.requests[0]),
            runs=self.plan.warming_runs(lane.run_ns),
            task=dict(served.task),
            folder=str(served.folder),
            as_bundle=served.as_bundle,
        )["run_ns"]

    def whole_block(self, lane: Lane, half: int, position: int) -> None:
        found = self.workers[lane.name].ask(
            "end_to_end",
            start=int(half * GOLDEN * self.inputs) % self.inputs,
            runs=self.plan.whole_runs(lane.whole_ns),
            warm_runs=1,
        )
        lane.whole.append(Block.from_json({**found, "process": self.process, "round": half // 2, "position": position}))
        lane.whole_ns = float(np.mean(found["ns"]))

    # beside a busy neighbour --------------------------------------------------------------------------------

    def beside_a_neighbour(self, seconds: float) -> None:
        """Rounds in the orders of the others while somebody else works; as long, and at least as many, as of whole
        requests."""
        try:
            with self.neighbour():
                for lane in self.alive():
                    lane.crowded_ns = lane.run_ns
                self.by_turns(self.is_crowded, self.crowded_block, seconds)
        except MeasureError as error:
            for lane in self.alive():
                lane.not_crowded = lane.not_crowded or str(error)

    @staticmethod
    def is_crowded(lane: Lane) -> bool:
        return not lane.not_crowded and not lane.failure

    def crowded_block(self, lane: Lane, half: int, position: int) -> None:
        try:
            found = self.timed(lane, lane.crowded_ns, half)
        except Kd2DeployError as error:
            lane.not_crowded = str(error)
            return
        place = {"process": self.process, "round": half // 2, "position": position}
        lane.crowded.append(Block.from_json({**found, **place}))
        lane.crowded_ns = float(np.mean(found["ns"]))

    def close(self, lane: Lane) -> None:
        self.workers[lane.name].ask("close")
