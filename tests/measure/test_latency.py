"""Real races of real sessions in real processes. No test looks at how long anything took."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from measured_sessions import CPU, HERE, Parity, numbered_rows, onnx_artifact, sum_artifact
from other_processes import PATIENCE_S

from kd2deploy.errors import MeasureError
from kd2deploy.measure.accuracy import timing_feeds
from kd2deploy.measure.latency import latency_percentile, race, speedup, throughput
from kd2deploy.measure.protocol import Protocol, quick
from kd2deploy.measure.stop_rule import StopRule
from kd2deploy.measure.timing import Contender, Timing
from kd2deploy.report import Measurement, Report
from kd2deploy.report.formats import figure
from kd2deploy.report.tables import phases
from kd2deploy.stages.telling.figures import timing_shown

SHORT = Protocol(
    processes=1,
    warm_s=0.0,
    warm_runs=3,
    block_warm_s=0.0,
    block_warm_runs=1,
    block_s=0.0,
    least_runs=5,
    throughput_s=0.001,
    least_rounds=3,
    stop=StopRule(min_s=0.0, relative=10.0),
    timeout_s=PATIENCE_S,
)


def requests(count: int = 16) -> list[dict[str, np.ndarray]]:
    task = Parity()
    return timing_feeds(task, task.reader.encode(numbered_rows(count), Path()), batch=1, inputs=count)


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Timing]:
    """One race of all kinds of contenders: two processes each."""
    folder = tmp_path_factory.mktemp("race")
    artifact, changed = sum_artifact(folder), sum_artifact(folder, "changed")
    changed.path.write_bytes(changed.path.read_bytes() + b"!")
    contenders = [
        Contender("teacher", artifact, {"work": 200}),
        Contender("student", artifact),
        Contender("onnx", onnx_artifact(folder)),
        Contender("chatter", artifact, {"fault": "chatter"}),
        Contender("elsewhere", artifact, {"provider": "CUDAExecutionProvider"}),
        Contender("dies", artifact, {"fault": "dies"}),
        Contender("changed", changed),
    ]
    said: list[str] = []
    found = race(
        contenders, Parity().spec(), CPU, requests(), replace(SHORT, processes=2), lambda text, _: said.append(text)
    )
    assert "process 2 of 2: 4 contenders open" in said
    return found


def test_every_living_contender_runs_the_same_blocks_there_and_back(raced: dict[str, Timing]) -> None:
    names = [name for name, timing in raced.items() if not timing.failure]
    assert names == ["teacher", "student", "onnx", "chatter"]
    rounds = {(block.process, block.round) for block in raced["teacher"].blocks}
    assert len(rounds) == 2 * 3
    orders = []
    for name in names:
        assert {(block.process, block.round) for block in raced[name].blocks} == rounds
    for process, turn in sorted(rounds):
        turns = sorted(
            (block.position, name)
            for name in names
            for block in raced[name].blocks
            if (block.process, block.round) == (process, turn)
        )
        order = [name for _, name in turns]
        assert order == order[::-1]
        orders.append(order[:4])
    assert len({tuple(order) for order in orders}) > 2, "no order is that of all rounds"
    assert len({order[0] for order in orders}) > 1


def test_each_process_is_fresh_and_its_cold_start_is_kept_apart(raced: dict[str, Timing]) -> None:
    """Cold starts are taken where one opens at a time: in the first process, or where there is one core alone."""
    student = raced["student"]
    assert len(student.cold) in (1, 2)
    assert all(cold.open_s > 0 and cold.first_run_ms > 0 for cold in student.cold)
    assert len(student.rows_per_s) == 2
    assert len({raced[name].describe["pid"] for name in ("teacher", "student", "chatter")}) == 3
    assert student.peak_rss_mb > 10


def test_throughput_with_one_request_in_flight_is_the_latency_turned_round(raced: dict[str, Timing]) -> None:
    """Bounds so wide that only a wrong figure leaves them: both are taken at other times of a machine in use."""
    teacher = raced["teacher"]
    rate = throughput(teacher)
    assert rate is not None
    assert 0 < rate.low <= rate.estimate <= rate.high
    assert 0.01 < rate.estimate * np.mean(teacher.samples_ms) / 1e3 < 100


def test_threads_are_fixed_in_the_environment_and_recorded(raced: dict[str, Timing]) -> None:
    assert raced["student"].threads == 1
    assert raced["student"].describe["omp"] == "1"
    assert raced["student"].describe["threads"] == "1"


def test_a_sample_knows_its_input_and_all_inputs_are_drawn(raced: dict[str, Timing]) -> None:
    student = raced["student"]
    assert len(student.samples_ms) == len(student.inputs) == 2 * 3 * 2 * 5
    assert set(student.inputs) <= set(range(16))
    assert len(student.sizes) == 16


def test_a_provider_that_is_not_active_is_that_contenders_failure(raced: dict[str, Timing]) -> None:
    assert raced["elsewhere"].failure == "CUDAExecutionProvider was asked for, and only numpy is active here"
    assert raced["elsewhere"].blocks == ()


def test_a_process_that_dies_is_reported_with_its_last_words(raced: dict[str, Timing]) -> None:
    assert "dies ended with exit code 7" in raced["dies"].failure
    assert "out of something" in raced["dies"].failure


def test_a_changed_artifact_is_refused(raced: dict[str, Timing]) -> None:
    assert "was changed after it was made" in raced["changed"].failure


def test_a_hundred_times_the_work_is_seen(raced: dict[str, Timing]) -> None:
    ratio = speedup(raced["teacher"], raced["student"])
    assert ratio.interval.low > 1
    assert len(ratio.per_process) == 2
    assert not ratio.covers_processes
    with pytest.raises(MeasureError, match="elsewhere was not timed"):
        speedup(raced["teacher"], raced["elsewhere"])


def test_percentiles_are_stated_only_from_enough_samples(raced: dict[str, Timing]) -> None:
    median = latency_percentile(raced["student"], 0.5)
    assert median.holds(median.estimate)
    assert str(latency_percentile(raced["student"], 0.99)) == "n/a (needs 662)"


def test_a_timing_survives_json(raced: dict[str, Timing]) -> None:
    assert Timing.from_json(raced["student"].to_json()) == raced["student"]


def test_a_real_onnx_file_is_timed_by_the_quick_protocol(tmp_path: Path) -> None:
    plan = replace(quick(), stop=StopRule(min_s=0.0, relative=10.0), block_s=0.001, warm_s=0.0)
    found = race([Contender("onnx", onnx_artifact(tmp_path))], Parity().spec(), CPU, requests(), plan)
    assert found["onnx"].describe == {"provider": "CPUExecutionProvider"}
    assert found["onnx"].settled


def test_what_comes_in_parts_keeps_its_marks_through_the_race(tmp_path: Path) -> None:
    plan = replace(quick(), stop=StopRule(min_s=0.0, relative=10.0), block_s=0.001, warm_s=0.0)
    contenders = [
        Contender("whole", sum_artifact(tmp_path)),
        Contender("parts", replace(sum_artifact(tmp_path), opened_by=f"{HERE}.InParts")),
    ]
    found = race(contenders, Parity().spec(), CPU, requests(), plan)
    parts, whole = found["parts"], found["whole"]
    first, further = (np.concatenate(phase[0]) for phase in parts.by_phase().values())
    assert len(first) == len(parts.samples_ms)
    assert (first < parts.samples_ms).all()
    assert len(further) == sum(parts.sizes[place] - 1 for place in parts.inputs)
    assert Timing.from_json(json.loads(json.dumps(parts.to_json()))) == parts
    assert whole.by_phase() == {}
    told = [Measurement(one.name, "variant", timing=timing_shown(one)) for one in (whole, parts)]
    table = phases(Report("a", "cpu", "", "", contenders=tuple(told)))
    assert table is not None
    assert [[cell.text for cell in row[:2]] for row in table.rows] == [
        ["parts", "first part"],
        ["parts", "each further part"],
    ]
    assert [row[-1].text for row in table.rows] == [f"{len(first):,}", f"{len(further):,}"]
    assert table.rows[0][2].text == figure(float(np.quantile(first, 0.5, method="inverted_cdf")), "ms")
    assert phases(Report("a", "cpu", "", "", contenders=tuple(told[:1]))) is None


def test_names_must_differ_and_there_must_be_an_input(tmp_path: Path) -> None:
    twice = [Contender("one", sum_artifact(tmp_path))] * 2
    with pytest.raises(MeasureError, match="names of their own"):
        race(twice, Parity().spec(), CPU, requests())
    with pytest.raises(MeasureError, match="at least one input"):
        race(twice[:1], Parity().spec(), CPU, [])
