"""Faults planted into races that never ran: simulated workers on one simulated clock. Each is met by its own word."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
from measured_sessions import CPU, Parity, sum_artifact

from kd2deploy.core import Gates, Target, made
from kd2deploy.core.verdict import Outcome
from kd2deploy.errors import MeasureError
from kd2deploy.measure import lineage
from kd2deploy.measure.diagnosis import Case, diagnose
from kd2deploy.measure.forks import Forks
from kd2deploy.measure.latency import Means, latency_percentile, race, speedup
from kd2deploy.measure.loop import timed, warm_up
from kd2deploy.measure.protocol import Protocol, full, quick
from kd2deploy.measure.statistics import noise
from kd2deploy.measure.timing import Contender, Timing
from kd2deploy.measure.verdict import judge

FEEDS = [{"x": np.ones((1, 4 + place), dtype=np.float32)} for place in range(8)]
Slowdown = Callable[[float, np.random.Generator], float]
"""How many times slower the machine is at a time (seconds since the start)."""


def quiet(now_s: float, rng: np.random.Generator) -> float:
    return float(np.exp(0.02 * rng.standard_normal()))


def throttled(now_s: float, rng: np.random.Generator) -> float:
    """After ten seconds the clock halves."""
    return quiet(now_s, rng) * (2.0 if now_s > 10 else 1.0)


def neighbour(now_s: float, rng: np.random.Generator) -> float:
    """Somebody else takes the cores for a random share of the time, in bursts of about a second."""
    return quiet(now_s, rng) * (1.0 + 4.0 * (np.random.default_rng(int(now_s)).random() < 0.5))


class Simulation:
    """One clock for all: a run moves it by the contender's milliseconds times the machine's slowdown."""

    def __init__(self, slowdown: Slowdown, ms: Mapping[str, float], dies: str = "", seed: int = 0) -> None:
        self.slowdown, self.ms, self.dies, self.now = slowdown, ms, dies, 0
        self.rng = np.random.default_rng(seed)

    def clock_ns(self) -> int:
        return self.now

    def clock_s(self) -> float:
        return self.now / 1e9

    def connect(
        self, contender: Contender, spec: Mapping[str, Any], target: Target, timeout_s: float, forks: Forks | None
    ) -> "Worker":
        return Worker(self, contender.name)


class Worker:
    """Answers as a real worker does, with the real timing loop on the simulated clock."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self.simulation, self.name, self.effect = simulation, name, np.exp(0.002 * simulation.rng.standard_normal())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def run(self, feed: Any) -> None:
        world = self.simulation
        world.now += int(1e6 * self.effect * world.ms[self.name] * world.slowdown(world.clock_s(), world.rng))

    def open(self) -> dict[str, Any]:
        return {"open_s": 1.0, "describe": {"provider": "simulated"}}

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        clock = self.simulation.clock_ns
        if do == "warm":
            ns = warm_up(self.run, FEEDS, seconds=given["seconds"], runs=given["runs"], settle=True, clock=clock)
            return {"first_run_ms": ns[0] / 1e6, "run_ns": float(np.median(ns))}
        if do == "time":
            if self.name == self.simulation.dies and clock() > 5e9:
                raise MeasureError("the process was killed by signal 9")
            warm_up(self.run, FEEDS, seconds=given["warm_s"], runs=given["warm_runs"], settle=False, clock=clock)
            found = timed(self.run, FEEDS, runs=given["runs"], start=given["start"], clock=clock, cpu_clock=clock)
            sides = {"cpu_s": found.cpu_s, "wall_s": found.wall_s, "load_before": 0.0, "load_after": 0.0}
            return {"ns": found.ns, "inputs": found.inputs, **sides}
        return {"throughput": {"per_s": 1.0}, "describe": {"describe": {}, "peak_rss_mb": 1.0}}.get(do, {})


def simulated(
    tmp_path: Path, slowdown: Slowdown, plan: Protocol | None = None, dies: str = "", seed: int = 0, **ms: float
) -> dict[str, Timing]:
    world = Simulation(slowdown, ms, dies, seed)
    contenders = [Contender(name, sum_artifact(tmp_path)) for name in ms]
    return race(contenders, Parity().spec(), CPU, FEEDS, plan, means=Means(connect=world.connect, clock=world.clock_s))


def test_a_quiet_race_settles_on_the_planted_ratio(tmp_path: Path) -> None:
    found = simulated(tmp_path, quiet, teacher=30.0, student=7.5)
    ratio = speedup(found["teacher"], found["student"])
    assert ratio.interval.holds(4.0)
    assert ratio.interval.relative < 0.01
    assert ratio.covers_processes
    assert all(timing.settled for timing in found.values())
    assert judge(Gates(min_speedup=3.9), {"min_speedup": ratio.interval}).outcome is Outcome.PASS


@pytest.mark.parametrize("seed", range(5))
def test_a_speedup_of_five_per_cent_is_found(tmp_path: Path, seed: int) -> None:
    found = simulated(tmp_path, quiet, seed=seed, teacher=10.5, student=10.0)
    assert speedup(found["teacher"], found["student"]).interval.low > 1.0


@pytest.mark.parametrize("seed", range(5))
def test_a_model_against_itself_does_not_pass(tmp_path: Path, seed: int) -> None:
    found = simulated(tmp_path, quiet, seed=seed, teacher=10.0, student=10.0)
    interval = speedup(found["teacher"], found["student"]).interval
    assert judge(Gates(min_speedup=1.05), {"min_speedup": interval}).outcome is Outcome.FAIL


def test_a_clock_that_is_throttled_midway_hits_both_and_leaves_the_ratio(tmp_path: Path) -> None:
    found = simulated(tmp_path, throttled, teacher=30.0, student=10.0)
    assert speedup(found["teacher"], found["student"]).interval.estimate == pytest.approx(3.0, rel=0.03)
    median = latency_percentile(found["student"], 0.5)
    assert judge(Gates(p50_ms=15.0), {"p50_ms": median}).outcome is Outcome.INCONCLUSIVE


def test_a_noisy_neighbour_is_inconclusive_flagged_and_named(tmp_path: Path) -> None:
    found = simulated(tmp_path, neighbour, teacher=30.0, student=10.0)
    student, teacher = found["student"], found["teacher"]
    ratio = speedup(teacher, student)
    assert judge(Gates(min_speedup=3.0), {"min_speedup": ratio.interval}).outcome is Outcome.INCONCLUSIVE
    assert noise(student.samples_ms, student.inputs).flags
    assert "noisy machine" in [each.word for each in diagnose(Case(student, teacher, ratio.interval, 3.0))]


def test_a_race_that_does_not_settle_ends_at_its_cap(tmp_path: Path) -> None:
    plan = full(0.99)
    plan = replace(plan, stop=replace(plan.stop, relative=0.0001, noise_change=0.0, cap_s=10.0))
    found = simulated(tmp_path, neighbour, plan, teacher=30.0, student=10.0)
    assert not found["student"].settled
    assert "stopped at the cap" in found["student"].decision


def test_requests_of_seconds_end_at_the_cap_with_bounded_intervals(tmp_path: Path) -> None:
    """A round of nine runs each, there and back, would take a minute and a half in every one of five processes."""
    plan = replace(full(), stop=replace(full().stop, cap_s=15.0))
    ms = {"teacher": 3000.0, "student": 2000.0}
    world = Simulation(neighbour, ms)
    contenders = [Contender(name, sum_artifact(tmp_path)) for name in ms]
    found = race(contenders, Parity().spec(), CPU, FEEDS, plan, means=Means(connect=world.connect, clock=world.clock_s))
    interval = speedup(found["teacher"], found["student"]).interval
    assert 0 < interval.low < interval.high < np.inf
    assert all("stopped at the cap of 15 s" in timing.decision for timing in found.values())
    warm = 5 * (10 + 10) * 2.5 * 3  # ten warming runs each per process, slowed threefold by the neighbour
    assert world.clock_s() < warm + 5 * 4 * 3 * 5 * 3


def test_a_single_process_runs_two_rounds_whatever_the_cap(tmp_path: Path) -> None:
    plan = replace(quick(), stop=replace(quick().stop, cap_s=0.5))
    found = simulated(tmp_path, quiet, plan, teacher=300.0, student=100.0)
    interval = speedup(found["teacher"], found["student"]).interval
    assert interval.high < np.inf
    assert interval.low > 0


def test_only_the_gated_contender_waits_for_its_p99(tmp_path: Path) -> None:
    found = simulated(tmp_path, quiet, full(0.99, gated=("student",)), teacher=100.0, student=10.0)
    assert len(found["student"].samples_ms) >= 1307
    assert len(found["teacher"].samples_ms) < 1307
    assert found["teacher"].settled
    p99 = latency_percentile(found["student"], 0.99)
    assert judge(Gates(p99_ms=12.0), {"p99_ms": p99}).outcome is Outcome.PASS


def test_a_contender_that_dies_in_the_middle_leaves_the_others_in_the_race(tmp_path: Path) -> None:
    found = simulated(tmp_path, quiet, dies="student", teacher=30.0, student=10.0, other=15.0)
    assert found["student"].failure == "the process was killed by signal 9"
    assert speedup(found["teacher"], found["other"]).interval.holds(2.0)


def test_a_missing_figure_fails_rather_than_passes(tmp_path: Path) -> None:
    found = simulated(tmp_path, quiet, dies="student", teacher=30.0, student=10.0)
    with pytest.raises(MeasureError, match="student was not timed"):
        speedup(found["teacher"], found["student"])
    assert judge(Gates(min_speedup=2.0), {"min_speedup": None}).outcome is Outcome.FAIL


def test_a_stale_engine_and_a_changed_artifact_are_invalid(tmp_path: Path) -> None:
    source = sum_artifact(tmp_path, "student")
    engine_file = tmp_path / "engine.npz"
    engine_file.write_bytes(b"built")
    engine = made(engine_file, source.opened_by, parent=source, made_by="engine_from_onnx")
    assert lineage.breaches([source, engine]) == ()
    retrained = sum_artifact(tmp_path, "retrained", bias=1.0)
    (stale,) = lineage.breaches([retrained, engine])
    assert "engine.npz is stale: it was made by engine_from_onnx" in stale
    engine_file.write_bytes(b"patched")
    (changed,) = lineage.breaches([source, engine])
    assert "was changed after it was made" in changed
    assert judge(Gates(), {}, [stale]).outcome is Outcome.INVALID
