"""Choosing the fastest of many by successive halving: who is surely slower soon goes, the near-equal are raced.

All are opened once and timed in turns, there and back. After 3, 6, 12 and 24 rounds everybody goes whose time is surely
beyond the fastest one's: paired round by round, at the low end of a 95 % interval, and by more than two starts of one
file may differ. The few that are left are raced in fresh processes, and the fastest of these is chosen. No verdict
rests on any of it.

Source: Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016,
arXiv:1502.07943, for doubling what is spent on ever fewer. Departs from it: who goes is decided by intervals and never
by rank, so that half may stay or all but one go; the numbers of rounds, the margin and the places are ours.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kd2deploy.core import Feed, Target, usable_cores
from kd2deploy.core.figures import count_of
from kd2deploy.core.target import Workload
from kd2deploy.core.tried import Fate, Sought, Tried
from kd2deploy.measure.heat import Heat, Lane, OnProgress
from kd2deploy.measure.intervals import Interval, shown
from kd2deploy.measure.latency import REAL, Means, connected, handed_over, race, speedup, throughput
from kd2deploy.measure.protocol import Protocol, last_race, turns
from kd2deploy.measure.statistics import FEW_PROCESSES_GROUPS, geometric_mean, round_centre, t_interval
from kd2deploy.measure.timing import Contender, Doubles, Timing

MARGIN = 0.03
"""Two starts of one file may differ by so much: who is no slower than this in one process stays. Ours."""
RATE_S = 1.0
"""Seconds of throughput in each process of the last race. Ours."""
QUICK_SHARE = 0.5
"""Of the progress that is told: what the quick rounds are taken for."""


@dataclass(frozen=True)
class Halving:
    """How long is spent on whom."""

    rounds: tuple[int, ...] = (3, 6, 12, 24)
    """After so many, counted from the first, who is surely slower goes."""
    places: int = 4
    """In the last race."""
    sought: Sought = "latency"
    """With `throughput` rounds are of rows per second, with the workload's requests in flight."""
    least_rows_per_s: float | None = None
    """Who is surely below it in the last race is passed over, unless all are."""
    cap_s: float = 60.0
    """Wall clock for all quick rounds of all; two are always made."""
    quick: Protocol = field(default_factory=turns)
    last: Protocol = field(default_factory=last_race)


def fastest_of(
    contenders: Sequence[Contender],
    task_spec: Mapping[str, Any],
    target: Target,
    feeds: Sequence[Feed],
    plan: Halving | None = None,
    on_progress: OnProgress = lambda sentence, share: None,
    means: Means = REAL,
) -> dict[str, Tried]:
    """How far each contender came; one is `deployed`, unless all failed. `feeds` as for a race."""
    plan = for_workload(plan or Halving(), target.workload)

    def told(first: float, share: float) -> OnProgress:
        return lambda sentence, done: on_progress(sentence, first + share * min(1.0, done))

    found, near = quick_rounds(contenders, task_spec, target, feeds, plan, told(0.0, QUICK_SHARE), means)
    if len(near) > 1:
        named = [one for one in contenders if one.name in near]
        timings = race(named, task_spec, target, feeds, plan.last, told(QUICK_SHARE, 1 - QUICK_SHARE), means)
        found |= raced({name: found[name] for name in near}, timings, plan)
    elif near:
        found[near[0]] = replace(found[near[0]], fate="deployed")
    return {contender.name: found[contender.name] for contender in contenders}


def for_workload(plan: Halving, workload: Workload) -> Halving:
    """The plan with the workload's requests in flight, and stretches of throughput as long as it needs them."""
    quick = replace(plan.quick, in_flight=workload.in_flight, throughput_s=plan.quick.block_s)
    last = replace(plan.last, in_flight=workload.in_flight)
    if plan.sought == "throughput":
        last = replace(last, throughput_s=RATE_S, least_rounds=1, stop=replace(last.stop, min_s=0.0, relative=10.0))
    elif plan.least_rows_per_s is not None:
        last = replace(last, throughput_s=RATE_S)
    return replace(plan, quick=quick, last=last)


def quick_rounds(
    contenders: Sequence[Contender],
    task_spec: Mapping[str, Any],
    target: Target,
    feeds: Sequence[Feed],
    plan: Halving,
    on_progress: OnProgress,
    means: Means,
) -> tuple[dict[str, Tried], list[str]]:
    """How far each came, and who goes on to the last race."""
    with handed_over(contenders, feeds, means.scratch) as given:
        at_once = usable_cores() if target.device == "cpu" else 1
        heat = Heat(0, given.lanes, plan.quick, len(feeds), means.clock, at_once)
        with connected(heat, task_spec, target, means):
            on_progress(f"{count_of(len(given.lanes), 'variant')} open", 0.0)
            heat.start(given.folders)
            return halved(heat, plan, target.workload.batch, means.clock, on_progress)


def halved(
    heat: Heat, plan: Halving, batch: int, clock: Callable[[], float], on_progress: OnProgress
) -> tuple[dict[str, Tried], list[str]]:
    """The quick rounds of a heat whose contenders are open and warm."""
    everybody, begun = tuple(heat.lanes), clock()
    found: dict[str, Tried] = {}
    left: list[str] = []
    for rounds in itertools.count(1):
        count = count_of(len(heat.alive()), "variant")
        on_progress(f"quick round {rounds}: {count}", rounds / plan.rounds[-1])
        (heat.round if plan.sought == "latency" else heat.round_of_rates)(rounds - 1)
        over = rounds >= plan.rounds[-1] or (rounds > 1 and clock() - begun >= plan.cap_s)
        alive = heat.alive()
        if rounds not in plan.rounds and not over and len(alive) > 1:
            continue
        fastest, ratios = over_the_fastest({lane.name: costs(heat, lane, rounds, plan) for lane in alive})
        for lane in alive:
            slower = lane.name in ratios and is_slower(ratios[lane.name])
            known = so_far(lane, "slower" if slower else "raced", ratios.get(lane.name), fastest, rounds)
            found[lane.name] = known if plan.sought == "latency" else replace(known, rows_per_s=rate_of(lane, batch))
            if slower:
                heat.leave(lane)
        left = [lane.name for lane in heat.alive()]
        if over or all(ratios[name].high < 1 + MARGIN for name in left if name in ratios):
            break
    places = sorted(left, key=lambda name: ratios[name].estimate if name in ratios else 1.0)
    found |= {name: replace(found[name], fate="crowded_out") for name in places[plan.places :]}
    gone = {name for name, one in found.items() if one.fate == "slower"}
    failed = {
        lane.name: Tried(lane.name, "left_out", reason=lane.failure)
        for lane in everybody
        if lane.failure and lane.name not in gone
    }
    return found | failed, places[: plan.places]


def costs(heat: Heat, lane: Lane, rounds: int, plan: Halving) -> Doubles:
    """[R] logarithm of what the contender takes in each round: for a request, or for each of many at once."""
    if plan.sought == "latency":
        return heat.round_medians(lane, rounds)
    rates: Doubles = np.array([np.mean(lane.rates[turn]) for turn in range(rounds)])
    return np.negative(np.log(rates))


def rate_of(lane: Lane, batch: int) -> float:
    return batch * float(np.median([rate for turn in lane.rates.values() for rate in turn]))


def over_the_fastest(costs: Mapping[str, Doubles]) -> tuple[str, dict[str, Interval]]:
    """The fastest, and the time of each other one over its time; from the logarithms of the rounds' medians, [R] each.

    Rounds that stand beside each other are paired, so that what drifts for all cancels. Of many rounds those that
    follow each other are taken together, because they are alike.
    """
    if not costs:
        return "", {}
    fastest = min(costs, key=lambda name: float(round_centre(costs[name])))
    ratios = {}
    for name, own in costs.items():
        if name != fastest:
            groups = np.array_split(own - costs[fastest], min(FEW_PROCESSES_GROUPS, len(own)))
            logs = t_interval(np.array([group.mean() for group in groups]))
            low, high = np.exp([logs.low, logs.high])
            ratios[name] = Interval(float(np.exp(logs.estimate)), float(low), float(high))
    return fastest, ratios


def is_slower(ratio: Interval) -> bool:
    """Whether a time is surely beyond that of the fastest."""
    return ratio.low > 1 + MARGIN


def so_far(lane: Lane, fate: Fate, ratio: Interval | None, fastest: str, rounds: int) -> Tried:
    """What is known of a contender after so many rounds; the fastest has no ratio."""
    samples = [ns for block in lane.blocks for ns in block.ns]
    median_ms = float(np.median(samples)) / 1e6 if samples else None
    known = Tried(lane.name, fate, median_ms=median_ms, rounds=rounds)
    return known if ratio is None else replace(known, ratio=shown(ratio), against=fastest)


def raced(near: Mapping[str, Tried], timings: Mapping[str, Timing], plan: Halving) -> dict[str, Tried]:
    """What the last race made of the near-equal: its own figures, and the fastest as the one that is deployed."""
    failed = {name: timing.failure for name, timing in timings.items() if timing.failure}
    found = {name: replace(near[name], fate="left_out", reason=reason, ratio=None) for name, reason in failed.items()}
    there = {name: timing for name, timing in timings.items() if name not in failed}
    if not there:
        return found
    first = next(iter(there.values()))
    fastest = max(enough(there, plan), key=lambda name: faster(first, there[name], plan.sought).estimate)
    for name, timing in there.items():
        rate = throughput(timing)
        own = replace(
            near[name],
            median_ms=float(np.median(timing.samples_ms)) if plan.sought == "latency" else None,
            rows_per_s=rate.estimate if rate is not None else None,
            ratio=None,
            against="",
        )
        ratio = shown(faster(timing, there[fastest], plan.sought))
        is_it = name == fastest
        found[name] = replace(own, fate="deployed") if is_it else replace(own, ratio=ratio, against=fastest)
    return found


def faster(slow: Timing, fast: Timing, sought: Sought) -> Interval:
    """How many times faster the second is."""
    if sought == "latency":
        return speedup(slow, fast).interval
    return geometric_mean(np.array(fast.rows_per_s) / np.array(slow.rows_per_s))


def enough(there: Mapping[str, Timing], plan: Halving) -> list[str]:
    """Who is not surely below the throughput that is asked for; all, where all are."""
    rates = {name: throughput(timing) for name, timing in there.items()}
    least = plan.least_rows_per_s or 0.0
    return [name for name, rate in rates.items() if rate is None or rate.high >= least] or list(there)
