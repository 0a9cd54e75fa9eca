"""The race: contenders in fresh processes, timed in interleaved blocks, so that what drifts hits all of them alike."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kd2deploy.core import Feed, Target, usable_cores
from kd2deploy.core.figures import figure
from kd2deploy.core.rows import write_rows
from kd2deploy.errors import MeasureError
from kd2deploy.measure.busy_neighbour import busy_neighbour
from kd2deploy.measure.feeds import exchange, write_feeds
from kd2deploy.measure.forks import Forks
from kd2deploy.measure.heat import Asked, Heat, Lane, OnProgress
from kd2deploy.measure.intervals import Figure, Interval
from kd2deploy.measure.loop import spread_order
from kd2deploy.measure.processes import WorkerProcess, with_threads
from kd2deploy.measure.protocol import Protocol, full
from kd2deploy.measure.statistics import Ratio, geometric_mean, percentile, ratio_of_medians
from kd2deploy.measure.timing import Contender, Timing

Connect = Callable[[Contender, Mapping[str, Any], Target, float, Forks | None], Asked]
CONTRADICTS = 1.25
"""Throughput times mean latency is 1 with one request in flight; further off than this, one of them is wrong. Ours."""


@dataclass(frozen=True)
class Means:
    """What a race is run by; what is left out is the real thing."""

    scratch: Path | None = None
    """Where requests are handed over; where the system keeps temporary files if nothing is said."""
    connect: Connect = WorkerProcess
    clock: Callable[[], float] = time.monotonic
    neighbour: Callable[[Target], AbstractContextManager[None]] = busy_neighbour


REAL = Means()


def race(
    contenders: Sequence[Contender],
    task_spec: Mapping[str, Any],
    target: Target,
    feeds: Sequence[Feed],
    plan: Protocol | None = None,
    on_progress: OnProgress = lambda sentence, share: None,
    means: Means = REAL,
) -> dict[str, Timing]:
    """Time every contender on the same inputs; one that dies or refuses is reported in `Timing.failure`.

    `feeds` are single requests of `target.workload.batch` rows, drawn from the evaluation set.
    """
    plan = plan or full()
    with handed_over(contenders, feeds, means.scratch) as given:
        for process in range(plan.processes):
            alive = [lane for lane in given.lanes if not lane.failure]
            # On a device the memory that one takes is read while none other opens.
            at_once = 1 if process == 0 or target.device != "cpu" else usable_cores()
            neighbour = partial(means.neighbour, target)
            heat = Heat(process, alive, plan, len(feeds), means.clock, at_once, neighbour)
            with connected(heat, task_spec, target, means):
                heat.run(given.folders, on_progress)
    order, lanes = given.order, given.lanes
    sizes = tuple(elements(feeds[place]) for place in order)
    batch, threads = target.workload.batch, with_threads(target).threads
    return {lane.name: lane.timing(sizes, batch, threads, plan.in_flight) for lane in lanes}


@dataclass(frozen=True)
class Given:
    """What the processes of a race are given: each contender's lane, and the folder that its requests lie in, by its
    name and in one order for all."""

    lanes: Sequence[Lane]
    folders: Mapping[str, Path]
    order: Sequence[int]


@contextmanager
def handed_over(contenders: Sequence[Contender], feeds: Sequence[Feed], scratch: Path | None) -> Iterator[Given]:
    """Requests written to where all processes find them, gone afterwards. Raises MeasureError for a race that cannot
    be."""
    names = [contender.name for contender in contenders]
    if len(set(names)) < len(names):
        raise MeasureError(f"contenders need names of their own, got {names}")
    if not feeds:
        raise MeasureError("a race needs at least one input; draw some from the evaluation set")
    odd = [contender.name for contender in contenders if len(contender.feeds or feeds) != len(feeds)]
    if odd:
        raise MeasureError(f"{odd[0]} was given other requests than the rest; give each contender the same examples")
    order = spread_order([elements(feed) for feed in feeds])
    with exchange(scratch) as folder:
        lanes = [
            Lane(contender, rows=written(contender, order, folder / f"rows-{turn}"))
            for turn, contender in enumerate(contenders)
        ]
        shared = write_feeds([feeds[place] for place in order], folder / "shared")
        folders = {
            contender.name: write_feeds([contender.feeds[place] for place in order], folder / f"own-{turn}")
            if contender.feeds is not None
            else shared
            for turn, contender in enumerate(contenders)
        }
        yield Given(lanes, folders, order)


@contextmanager
def connected(heat: Heat, task_spec: Mapping[str, Any], target: Target, means: Means) -> Iterator[None]:
    """A process for each of the heat's contenders; all are ended afterwards."""
    with ExitStack() as stack:
        # Forks of its own for each heat: what an address or a page's place does to a time differs between them.
        forks = stack.enter_context(Forks()) if heat.at_once > 1 else None
        for lane in heat.in_order():
            spec = lane.contender.task_spec or task_spec
            worker = means.connect(lane.contender, spec, target, heat.plan.timeout_s, forks)
            heat.workers[lane.name] = stack.enter_context(worker)
        yield


def written(contender: Contender, order: Sequence[int], folder: Path) -> Path | None:
    """The folder of a contender's requests as rows, in the race's order; None where it is not asked end to end."""
    if contender.served is None:
        return None
    write_rows([row for place in order for row in contender.served.requests[place]], folder, copies=False)
    return folder


def elements(feed: Feed) -> int:
    """Size of one input: the elements of its largest array."""
    return max((int(array.size) for array in feed.values()), default=0)


def speedup(slow: Timing, fast: Timing) -> Ratio:
    """Ratio of the median latencies of two contenders of the same race, slow / fast.

    Raises MeasureError if either of them failed.
    """
    for timing in (slow, fast):
        _refuse_failed(timing)
    return ratio_of_medians(slow.by_round(), fast.by_round())


def latency_percentile(timing: Timing, share: float) -> Figure:
    """A percentile of one contender's latency in ms, over all its processes; `share` 0.99 for P99.

    Raises MeasureError if it failed.
    """
    _refuse_failed(timing)
    return percentile(timing.by_process(), share)


def throughput(timing: Timing) -> Interval | None:
    """Rows per second: the geometric mean over the processes, whose interval is never negative. None if not taken."""
    return geometric_mean(np.array(timing.rows_per_s)) if timing.rows_per_s else None


def contradiction(timing: Timing, in_flight: int) -> str:
    """What is wrong where throughput and latency of one request at a time tell different stories; empty else."""
    rate = throughput(timing)
    if rate is None or in_flight != 1 or timing.failure:
        return ""
    mean_ms = math.exp(np.mean([np.log(np.concatenate(blocks).mean()) for blocks in timing.by_process()]))
    busy = rate.estimate / timing.batch * mean_ms / 1e3
    if 1 / CONTRADICTS <= busy <= CONTRADICTS:
        return ""
    return (
        f"{timing.name} answered {figure(rate.estimate / timing.batch, 'number')} requests a second one after the "
        f"other, and a request took it {figure(mean_ms, 'ms')}, which would be {figure(1e3 / mean_ms, 'number')} a "
        "second: the machine did other work "
        "while one of the two was taken"
    )


def _refuse_failed(timing: Timing) -> None:
    if timing.failure:
        raise MeasureError(f"{timing.name} was not timed: {timing.failure}")
