"""Beside a busy neighbour: a real one, which never outlives its time; simulated ones that slow by a known factor."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from measured_sessions import CPU, Parity, sum_artifact
from other_processes import PATIENCE_S, all_end, at_work, lives
from test_planted_faults import FEEDS, Simulation, Worker, quiet

from kd2deploy.core import Target
from kd2deploy.errors import MeasureError
from kd2deploy.measure.busy_neighbour import busy_neighbour
from kd2deploy.measure.crowded import crowded, crowded_speedup, slowdown
from kd2deploy.measure.latency import Means, latency_percentile, race
from kd2deploy.measure.protocol import full
from kd2deploy.measure.starting import RUNNING
from kd2deploy.measure.timing import Contender, Timing
from kd2deploy.report import Measurement, Report
from kd2deploy.report.formats import figure
from kd2deploy.report.tables import crowded as table
from kd2deploy.stages.telling.figures import timing_shown

MODULE = "kd2deploy.measure.busy_neighbour"


def test_it_works_while_it_is_wanted_and_is_gone_afterwards() -> None:
    before = set(RUNNING)
    with busy_neighbour(CPU):
        (process,) = at_work(MODULE)
        deadline = time.monotonic() + PATIENCE_S
        while process.cpu_times().user < 0.5:  # it started in less
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert len(RUNNING - before) == 1
    assert not lives(process)
    assert before == RUNNING


def test_it_ends_with_who_started_it_however_they_end() -> None:
    code = f"""
import time
from measured_sessions import CPU
from {MODULE} import busy_neighbour
with busy_neighbour(CPU):
    print("started", flush=True)
    time.sleep(3600)
"""
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    leader = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
    )
    with leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"started\n"
        (neighbour,) = psutil.Process(leader.pid).children()
        assert lives(neighbour)
        leader.send_signal(signal.SIGKILL)
        leader.wait()
    assert all_end([neighbour])


def test_one_that_ends_before_its_time_is_no_neighbour() -> None:
    def killed() -> None:
        with busy_neighbour(CPU):
            (process,) = at_work(MODULE)
            process.kill()
            assert all_end([process])

    with pytest.raises(MeasureError, match="ended before its time"):
        killed()


# on a simulated clock ---------------------------------------------------------------------------------------------


class World(Simulation):
    """A contender whose name begins with `spinning` takes three times as long beside a neighbour, the others twice."""

    busy = False

    def connect(self, contender: Contender, *given: Any) -> Worker:
        return Crowded(self, contender.name)

    @contextmanager
    def neighbour(self, target: Target) -> Iterator[None]:
        self.busy = True
        yield
        self.busy = False


class Crowded(Worker):
    simulation: World

    def run(self, feed: Any) -> None:
        world, before = self.simulation, self.simulation.now
        super().run(feed)
        if world.busy:
            world.now += (2 if self.name.startswith("spinning") else 1) * (world.now - before)


def simulated(tmp_path: Path, processes: int = 5, **ms: float) -> dict[str, Timing]:
    world = World(quiet, ms)
    contenders = [Contender(name, sum_artifact(tmp_path)) for name in ms]
    plan = replace(full(), processes=processes, crowded_share=0.25)
    means = Means(connect=world.connect, clock=world.clock_s, neighbour=world.neighbour)
    return race(contenders, Parity().spec(), CPU, FEEDS, plan, means=means)


@pytest.mark.parametrize("processes", [3, 5])
def test_the_planted_slowdown_is_found_and_no_quiet_figure_holds_it(tmp_path: Path, processes: int) -> None:
    found = simulated(tmp_path, processes, teacher=20.0, spinning=4.0, other=5.0)
    longer = {name: slowdown(timing) for name, timing in found.items()}
    for name, planted in {"teacher": 2.0, "spinning": 3.0, "other": 2.0}.items():
        known = longer[name]
        assert known is not None
        assert known.low * 0.995 < planted < known.high * 1.005
        assert known.estimate == pytest.approx(planted, rel=0.01)
    assert latency_percentile(found["spinning"], 0.5).estimate == pytest.approx(4.0, rel=0.02)  # type: ignore[union-attr]
    ratio = crowded_speedup(found["spinning"], found["other"])
    assert ratio is not None
    assert ratio.interval.estimate == pytest.approx(1.2, rel=0.02)
    spent = {name: sum(map(sum, (block.ns for block in timing.crowded))) for name, timing in found.items()}
    assert all(0.05 < spent[name] / sum(sum(block.ns) for block in found[name].blocks) < 1.5 for name in spent)


def test_it_goes_through_json_into_the_table(tmp_path: Path) -> None:
    found = simulated(tmp_path, 3, spinning=4.0, other=5.0)
    assert Timing.from_json(json.loads(json.dumps(found["other"].to_json()))) == found["other"]
    shown = [Measurement(one.name, "variant", timing=timing_shown(one)) for one in found.values()]
    told = table(Report("a", "cpu", contenders=tuple(shown)))
    assert told is not None
    assert [row[0].text for row in told.rows] == ["spinning", "other"]
    busy = crowded(found["spinning"])
    assert busy is not None
    assert told.rows[0][2].text == figure(latency_percentile(busy, 0.5).estimate, "ms")  # type: ignore[union-attr]
    assert told.rows[0][4].text.startswith(("2.9", "3.0"))
    quiet_ones = [replace(one, timing=replace(one.timing, crowded=None)) for one in shown if one.timing]
    assert table(Report("a", "cpu", contenders=tuple(quiet_ones))) is None


def test_without_a_neighbour_the_quiet_figures_stand_and_the_reason_is_told(tmp_path: Path) -> None:
    def absent(target: Target) -> Any:
        raise MeasureError("the busy neighbour did not start: no memory")

    world = World(quiet, {"one": 4.0, "other": 5.0})
    contenders = [Contender(name, sum_artifact(tmp_path)) for name in world.ms]
    plan = replace(full(), processes=3, crowded_share=0.25)
    means = Means(connect=world.connect, clock=world.clock_s, neighbour=absent)
    found = race(contenders, Parity().spec(), CPU, FEEDS, plan, means=means)
    assert [timing.failure for timing in found.values()] == ["", ""]
    beside = timing_shown(found["one"]).crowded
    assert beside is not None
    assert (beside.median.value, beside.median.note) == (None, "the busy neighbour did not start: no memory")
    assert slowdown(found["one"]) is None
