"""Successive halving among simulated files on a simulated clock, with the truth known; and among real processes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured_sessions import CPU, Parity, sum_artifact
from other_processes import PATIENCE_S
from test_planted_faults import FEEDS, Simulation, Slowdown, Worker, neighbour, quiet

from kd2deploy.core import Workload
from kd2deploy.core.tried import Tried
from kd2deploy.measure.choosing import MARGIN, Halving, fastest_of, over_the_fastest
from kd2deploy.measure.latency import Means
from kd2deploy.measure.stop_rule import StopRule
from kd2deploy.measure.timing import Contender


def chosen(
    tmp_path: Path, slowdown: Slowdown = quiet, seed: int = 0, dies: str = "", **ms: float
) -> tuple[dict[str, Tried], float]:
    """How far each came, and the simulated seconds that it took."""
    world = Simulation(slowdown, ms, dies, seed)
    contenders = [Contender(name, sum_artifact(tmp_path)) for name in ms]
    means = Means(connect=world.connect, clock=world.clock_s)
    return fastest_of(contenders, Parity().spec(), CPU, FEEDS, means=means), world.clock_s()


def fates(found: dict[str, Tried]) -> dict[str, str]:
    return {name: one.fate for name, one in found.items()}


def test_what_is_far_slower_goes_first_and_the_near_equal_are_raced(tmp_path: Path) -> None:
    found, _ = chosen(tmp_path, far=4.0, near=1.01, middling=1.15, fast=1.0)
    assert fates(found) == {"far": "slower", "near": "raced", "middling": "slower", "fast": "deployed"}
    assert found["far"].rounds == 3
    assert found["far"].rounds <= found["middling"].rounds <= found["near"].rounds
    ratio = found["far"].ratio
    assert ratio is not None
    assert ratio.low is not None
    assert ratio.low > 1 + MARGIN
    assert ratio.value == pytest.approx(4.0, rel=0.05)
    assert found["far"].against in ("fast", "near")
    assert found["near"].against == "fast"
    assert found["fast"].ratio is None


@pytest.mark.parametrize("slowdown", [quiet, neighbour])
def test_the_fastest_is_not_dropped_by_quick_timings(tmp_path: Path, slowdown: Slowdown) -> None:
    """Nine files within a few per cent, on a quiet machine and beside a neighbour: the last race has the fastest."""
    ms = {f"file{at}": 1.0 + 0.02 * at for at in range(9)}
    for seed in range(4):
        found, _ = chosen(tmp_path, slowdown, seed, **ms)
        assert found["file0"].fate in ("deployed", "raced", "crowded_out")
        best = next(name for name, one in found.items() if one.fate == "deployed")
        assert ms[best] <= (1.04 if slowdown is quiet else 1.16)
        assert sum(one.fate in ("deployed", "raced") for one in found.values()) <= Halving().places


def test_twenty_variants_take_less_than_a_minute(tmp_path: Path) -> None:
    _, spent = chosen(tmp_path, **{f"file{at}": 1.0 * 1.1**at for at in range(20)})
    assert spent < 60


def test_requests_of_a_second_end_at_the_cap_of_all(tmp_path: Path) -> None:
    found, spent = chosen(tmp_path, one=1000.0, other=1500.0, third=1020.0)
    assert fates(found)["other"] == "slower"
    assert spent < 3 * 10 * 1.5 * 3 + Halving().cap_s + 3 * Halving().last.stop.cap_s + 60


def test_one_that_dies_is_left_out_with_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    found, _ = chosen(tmp_path, dies="fast", fast=1.0, near=1.005, far=4.0)
    assert found["fast"].fate == "left_out"
    assert "killed by signal 9" in found["fast"].reason
    assert fates(found)["near"] == "deployed"


def test_one_alone_is_timed_once_and_deployed(tmp_path: Path) -> None:
    found, _ = chosen(tmp_path, only=2.0)
    assert fates(found) == {"only": "deployed"}
    assert found["only"].rounds == 1
    assert found["only"].median_ms == pytest.approx(2.0, rel=0.1)


class Serving(Worker):
    """Rows per second are those of its name, whatever one request takes."""

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        if do != "throughput":
            return super().ask(do, **given)
        world = self.simulation
        assert isinstance(world, Served)
        world.now += int(1e9 * given["seconds"])
        world.in_flight.add(given["in_flight"])
        return {"per_s": world.per_s[self.name] * quiet(0.0, world.rng)}


class Served(Simulation):
    def __init__(self, ms: Mapping[str, float], per_s: Mapping[str, float]) -> None:
        super().__init__(quiet, ms)
        self.per_s, self.in_flight = per_s, set[int]()

    def connect(self, contender: Contender, *given: Any) -> Worker:
        return Serving(self, contender.name)


def test_the_most_rows_per_second_are_found_where_these_are_sought(tmp_path: Path) -> None:
    """The fastest for one request is not who serves the most."""
    world = Served({"alone": 1.0, "many": 1.8, "near": 1.8}, {"alone": 700.0, "many": 1100.0, "near": 1090.0})
    target = replace(CPU, workload=Workload(batch=2, in_flight=4))
    means = Means(connect=world.connect, clock=world.clock_s)
    contenders = [Contender(name, sum_artifact(tmp_path)) for name in world.ms]

    def chosen_by(**plan: Any) -> dict[str, Tried]:
        return fastest_of(contenders, Parity().spec(), target, FEEDS, Halving(**plan), means=means)

    found = chosen_by(sought="throughput")
    assert world.in_flight == {4}
    assert found["alone"].fate == "slower"
    assert {found["many"].fate, found["near"].fate} == {"deployed", "raced"}
    assert found["many"].rows_per_s == pytest.approx(2 * 1100.0, rel=0.05)
    assert found["alone"].median_ms is None
    ratio = found["alone"].ratio
    assert ratio is not None
    assert ratio.value == pytest.approx(1100 / 700, rel=0.1)
    assert fates(chosen_by())["alone"] == "deployed"


def test_who_serves_too_few_is_passed_over_though_faster(tmp_path: Path) -> None:
    world = Served({"one": 1.0, "other": 1.01}, {"one": 700.0, "other": 1100.0})
    means = Means(connect=world.connect, clock=world.clock_s)
    contenders = [Contender(name, sum_artifact(tmp_path)) for name in world.ms]
    for least, deployed in ((None, "one"), (900.0, "other"), (2000.0, "one")):
        plan = replace(Halving(), least_rows_per_s=least)
        found = fastest_of(contenders, Parity().spec(), CPU, FEEDS, plan, means=means)
        assert fates(found)[deployed] == "deployed"


def test_the_ratio_of_hand_made_rounds() -> None:
    slow, fast = np.log([2.0, 2.0, 2.0]), np.log([1.0, 1.0, 1.0])
    name, ratios = over_the_fastest({"slow": slow, "fast": fast})
    assert name == "fast"
    assert (ratios["slow"].low, ratios["slow"].estimate, ratios["slow"].high) == pytest.approx((2.0, 2.0, 2.0))
    drift = np.log([1.0, 3.0, 9.0])
    assert over_the_fastest({"slow": slow + drift, "fast": fast + drift})[1]["slow"].high == pytest.approx(2.0)


def test_real_processes_are_dropped_and_raced(tmp_path: Path) -> None:
    """A thousand matrix products more is no matter of noise; what cannot open says why."""
    stop = StopRule(min_s=0.0, relative=10.0, cap_s=1.0)
    short: dict[str, Any] = {
        "stop": stop,
        "warm_s": 0.0,
        "block_s": 0.001,
        "block_warm_s": 0.0,
        "timeout_s": PATIENCE_S,
    }
    default = Halving(rounds=(3, 4))
    plan = replace(default, quick=replace(default.quick, **short), last=replace(default.last, processes=1, **short))
    artifact = sum_artifact(tmp_path)
    contenders = [
        Contender("slow", artifact, {"work": 1000}),
        Contender("one", artifact),
        Contender("other", artifact),
        Contender("elsewhere", artifact, {"provider": "CUDAExecutionProvider"}),
    ]
    found = fastest_of(contenders, Parity().spec(), CPU, FEEDS, plan)
    assert list(found) == ["slow", "one", "other", "elsewhere"]
    assert found["slow"].fate == "slower"
    assert found["elsewhere"].reason == "CUDAExecutionProvider was asked for, and only numpy is active here"
    assert [one.fate for one in found.values()].count("deployed") == 1
