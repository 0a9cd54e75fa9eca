"""Whole requests, from rows to answers: in real processes, and on a simulated clock."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured_sessions import CPU, Parity, numbered_rows, sum_artifact
from other_processes import PATIENCE_S
from PIL import Image
from test_latency import SHORT, requests
from test_planted_faults import FEEDS, Simulation, Worker, quiet
from tiny_models import save_encoder, save_image_net

from kd2deploy.core import Row, Target, Task
from kd2deploy.core.rows import write_rows
from kd2deploy.exporters.bundle import write_network
from kd2deploy.measure.accuracy import timing_places
from kd2deploy.measure.end_to_end import end_to_end, end_to_end_speedup, split
from kd2deploy.measure.forks import Forks
from kd2deploy.measure.latency import Means, race, speedup
from kd2deploy.measure.loop import timed
from kd2deploy.measure.protocol import Protocol, full
from kd2deploy.measure.timing import Contender, Served, Timing
from kd2deploy.stages.telling.figures import timing_shown
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification


def served(rows: list[Row], inputs: int = 16) -> Served:
    drawn = timing_places(len(rows), 1, inputs)
    return Served([[rows[place] for place in places] for places in drawn], Parity().spec(), Path())


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Timing]:
    folder = tmp_path_factory.mktemp("race")
    rows = numbered_rows(16)
    contenders = [
        Contender("teacher", sum_artifact(folder), {"work": 200}, served=served(rows)),
        Contender("student", sum_artifact(folder), served=served(rows)),
        Contender("elsewhere", sum_artifact(folder), served=replace(served(rows), task={"use": "no_task"})),
    ]
    return race(contenders, Parity().spec(), CPU, requests(), SHORT)


def test_whole_requests_are_timed_beside_the_network(raced: dict[str, Timing]) -> None:
    for name in ("teacher", "student"):
        whole = raced[name].end_to_end
        assert len({block.round for block in whole}) > 1
        assert {place for block in whole for place in block.inputs} <= set(range(16))
        for block in whole:
            assert all(0 < first < second < ns for (first, second), ns in zip(block.marks, block.ns, strict=True))
    one, other = (
        [(b.process, b.round) for b in sorted(raced[name].end_to_end, key=lambda b: (b.process, b.round))]
        for name in ("teacher", "student")
    )
    assert one == other


def test_the_parts_are_those_of_one_request(raced: dict[str, Timing]) -> None:
    whole = end_to_end(raced["teacher"])
    assert whole is not None
    parts = split(whole)
    assert parts.network_ms > parts.preparing_ms > 0
    assert parts.rest_ms > 0
    shown = timing_shown(raced["teacher"]).end_to_end
    assert shown is not None
    assert shown.samples == sum(len(block.ns) for block in whole.blocks)
    assert shown.network_ms == parts.network_ms


def test_the_ratio_is_taken_like_that_of_the_network(raced: dict[str, Timing]) -> None:
    whole = end_to_end_speedup(raced["teacher"], raced["student"])
    assert whole is not None
    assert 1 < whole.interval.estimate < speedup(raced["teacher"], raced["student"]).interval.high
    assert end_to_end_speedup(raced["teacher"], replace(raced["student"], end_to_end=())) is None
    assert end_to_end_speedup(None, raced["student"]) is None


def test_who_cannot_be_asked_keeps_its_latency_and_says_why(raced: dict[str, Timing]) -> None:
    lost = raced["elsewhere"]
    assert not lost.failure
    assert lost.blocks
    assert lost.end_to_end == ()
    assert "no task is called 'no_task'" in lost.not_end_to_end
    shown = timing_shown(lost).end_to_end
    assert shown is not None
    assert (shown.median.value, shown.median.note) == (None, lost.not_end_to_end)
    assert timing_shown(replace(raced["student"], end_to_end=())).end_to_end is None


def test_a_timing_with_whole_requests_survives_json(raced: dict[str, Timing]) -> None:
    assert Timing.from_json(json.loads(json.dumps(raced["student"].to_json()))) == raced["student"]


# the clock ------------------------------------------------------------------------------------------------------

AROUND_MS = 0.5


class World(Simulation):
    """A whole request takes half a millisecond beside the network's run."""

    whole_ns = 0

    def connect(
        self, contender: Contender, spec: Mapping[str, Any], target: Target, timeout_s: float, forks: Forks | None
    ) -> Worker:
        return Serving(self, contender.name)


class Serving(Worker):
    simulation: World

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        if do not in ("read", "end_to_end"):
            return super().ask(do, **given)
        if do == "read":
            return {"run_ns": 1e6 * (self.simulation.ms[self.name] + AROUND_MS)}
        found = timed(self.whole, FEEDS, runs=given["runs"], start=given["start"], clock=self.simulation.clock_ns)
        marks = [[int(1e6 * AROUND_MS), ns] for ns in found.ns]
        self.simulation.whole_ns += sum(found.ns)
        sides = {"cpu_s": 0.0, "wall_s": 0.0, "load_before": 0.0, "load_after": 0.0}
        return {"ns": found.ns, "inputs": found.inputs, "marks": marks, **sides}

    def whole(self, feed: Any) -> None:
        self.simulation.now += int(1e6 * AROUND_MS)
        self.run(feed)


def simulated(tmp_path: Path, plan: Protocol, **ms: float) -> tuple[dict[str, Timing], float]:
    """The timings, and what whole requests took of the time of all the rest."""
    world = World(quiet, ms)
    asked = served(numbered_rows(8), inputs=8)
    contenders = [Contender(name, sum_artifact(tmp_path), served=asked) for name in ms]
    found = race(contenders, Parity().spec(), CPU, FEEDS, plan, means=Means(connect=world.connect, clock=world.clock_s))
    return found, world.whole_ns / (world.now - world.whole_ns)


@pytest.mark.parametrize("ms", [{"teacher": 4.0, "student": 1.0}, {"teacher": 80.0, "other": 20.0, "student": 0.01}])
def test_the_planted_ratio_is_found_within_a_quarter_of_the_time(tmp_path: Path, ms: dict[str, float]) -> None:
    found, cost = simulated(tmp_path, full(), **ms)
    ratio = end_to_end_speedup(found["teacher"], found["student"])
    assert ratio is not None
    planted = (ms["teacher"] + AROUND_MS) / (ms["student"] + AROUND_MS)
    assert ratio.interval.low < planted < ratio.interval.high
    assert ratio.interval.estimate == pytest.approx(planted, rel=0.02)
    assert 0.05 < cost < 0.25


# what a worker needs for it ---------------------------------------------------------------------------------------

ALONE = """
import json, sys
from pathlib import Path
from kd2deploy.measure.asked import Asked
import numpy as np
given = json.loads(sys.argv[1])
asked = Asked.opened(given["task"], Path(given["rows"]), 1, Path(given["folder"]), True)
class Session:
    def run(self, feed):
        print({name: list(array.shape) for name, array in feed.items()})
        return {"logits": np.array([[0.0, 2.0]], np.float32)}
print(asked.run(Session(), asked.requests[0], lambda: None))
print([name for name in ("torch", "transformers", "scipy", "sklearn", "pandas") if name in sys.modules])
"""


@pytest.mark.parametrize("kind", ["text", "picture"])
def test_rows_are_read_and_answered_without_pytorch_and_transformers(kind: str, tmp_path: Path) -> None:
    if kind == "text":
        network = save_encoder(tmp_path / "network", labels=["neg", "pos"])
        task: Task = TextClassification(["neg", "pos"], max_length=16).at(network)
        row: Row = {"text": "a good film", "label": "pos", "index": 3}
    else:
        network = save_image_net(tmp_path / "network", "resnet", channels=3)
        task = ImageClassification(["zero", "one"]).at(network)
        row = {"image": np.arange(768, dtype=np.uint8).reshape(16, 16, 3), "label": "one", "index": 3}
    write_network(network, tmp_path / "read-by", task, weights=False)
    assert not list((tmp_path / "read-by").rglob("*.safetensors"))
    sent = task.reader.sent(row, tmp_path / "000003")
    write_rows([sent], tmp_path / "rows", copies=False)
    asked = {"task": task.spec(), "rows": str(tmp_path / "rows"), "folder": str(tmp_path / "read-by")}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps(asked)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    shapes, answer, heavy = done.stdout.splitlines()
    expected = task.reader.feed(task.reader.encode([row], network))
    assert shapes == str({name: list(array.shape) for name, array in expected.items()})
    assert ("pos" if kind == "text" else "one") in answer
    assert heavy == "[]"
    if kind == "picture":
        assert np.array_equal(np.asarray(Image.open(sent["image"])), row["image"])
