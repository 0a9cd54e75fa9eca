import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured_sessions import CPU, HERE, Parity, SumSession, onnx_artifact, sum_artifact

from kd2deploy.core import made
from kd2deploy.core.device_times import DeviceTimes
from kd2deploy.measure.feeds import read_feed, read_feeds, write_feeds
from kd2deploy.measure.worker import Worker, peak_rss_mb, serve


def asked(*requests: dict[str, object]) -> list[dict[str, object]]:
    replies = io.StringIO()
    serve(io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


def opening(folder: Path, **options: object) -> dict[str, object]:
    artifact = sum_artifact(folder).to_json()
    ports = Parity().ports.to_json()
    return {"do": "open", "artifact": artifact, "ports": ports, "target": asdict(CPU), "options": options}


def test_one_line_is_answered_by_one_line_until_close(tmp_path: Path) -> None:
    feeds = write_feeds([{"x": np.ones((1, 3), np.float32)}, {"x": np.ones((1, 5), np.float32)}], tmp_path / "feeds")
    opened, warmed, timed, rate, described, closed = asked(
        opening(tmp_path),
        {"do": "warm", "feeds": str(feeds), "seconds": 0.0, "runs": 2},
        {"do": "time", "start": 1, "runs": 3, "warm_s": 0.0, "warm_runs": 1},
        {"do": "throughput", "seconds": 0.0},
        {"do": "describe"},
        {"do": "close"},
        {"do": "describe"},
    )
    assert opened["describe"]["provider"] == "numpy"
    assert warmed["shapes"] == 2
    assert timed["inputs"] == [1, 0, 1]
    assert len(timed["ns"]) == 3
    assert rate["requests"] == 1
    assert described["peak_rss_mb"] > 10
    assert closed == {}


def test_a_session_on_a_device_is_described_with_its_times_and_memory(tmp_path: Path) -> None:
    feeds = write_feeds([{"x": np.ones((1, 3), np.float32)}] * 3, tmp_path / "feeds")

    def described(stream: object) -> Mapping[str, Any]:
        used = iter([500.0, 720.25])
        times = DeviceTimes(enqueue_ms=0.1, gpu_ms=1.5, compute_ms=1.6, copy_ms=0.2)
        worker = Worker(times=lambda session, feeds: times, memory_mb=lambda device: next(used))
        worker.answer({**opening(tmp_path), "target": asdict(replace(CPU, device="cuda"))})
        worker.answer({"do": "warm", "feeds": str(feeds), "seconds": 0.0, "runs": 1})
        assert isinstance(worker.session, SumSession)
        worker.session.stream = stream
        return worker.answer({"do": "describe"})

    resident, other = described("a stream"), described(None)
    assert resident["device"] == {"enqueue_ms": 0.1, "gpu_ms": 1.5, "compute_ms": 1.6, "copy_ms": 0.2}
    assert "device" not in other
    assert (resident["peak_device_mb"], other["peak_device_mb"]) == (220.25, 220.25)


def test_several_requests_in_flight_are_all_counted(tmp_path: Path) -> None:
    feeds = write_feeds([{"x": np.ones((1, 3), np.float32)}], tmp_path / "feeds")
    *_, rate = asked(
        opening(tmp_path),
        {"do": "warm", "feeds": str(feeds), "seconds": 0.0, "runs": 2},
        {"do": "throughput", "seconds": 0.0, "in_flight": 3},
    )
    assert rate["requests"] == 3
    assert rate["per_s"] > 0


def test_requests_in_flight_share_the_threads_and_are_served_no_longer_than_wanted(tmp_path: Path) -> None:
    worker = Worker()
    worker.answer({**opening(tmp_path), "target": asdict(replace(CPU, threads=8))})
    worker.feeds = [{"x": np.ones((1, 3), np.float32)}]
    kept = {"do": "throughput", "seconds": 0.0, "in_flight": 3, "keep": True}
    worker.answer(kept)
    first = list(worker.served)
    worker.answer(kept)
    assert worker.served == first
    assert [session.threads for session in first] == [2, 2, 2]  # type: ignore[attr-defined]
    assert worker.session not in first
    worker.answer({**kept, "keep": False})
    assert worker.served == []


def clocked(tmp_path: Path, slow: Callable[[int], int]) -> tuple[Worker, list[int]]:
    """A worker on a clock that only its session moves: the nth run takes `slow(n)` nanoseconds."""
    now = [0]
    tmp_path.mkdir(exist_ok=True)
    feeds = write_feeds([{"x": np.ones((1, size), np.float32)} for size in (3, 5, 7)], tmp_path / "feeds")
    worker = Worker(clock=lambda: now[0])
    worker.answer(opening(tmp_path))
    worker.feeds = read_feeds(feeds)
    session = worker.session
    assert isinstance(session, SumSession)
    plain = session.run

    def run(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        now[0] += slow(session.runs)
        return plain(feed)

    session.run = run  # type: ignore[method-assign]
    return worker, now


def test_one_request_in_flight_is_served_as_often_as_its_latency_allows(tmp_path: Path) -> None:
    worker, _ = clocked(tmp_path, lambda turn: 1_000_000 + 100_000 * (turn % 3))
    latency = worker.answer({"do": "time", "start": 0, "runs": 300, "warm_s": 0.0, "warm_runs": 1})
    rate = worker.answer({"do": "throughput", "seconds": 1.0, "warm_s": 0.0, "warm_runs": 1})
    assert rate["per_s"] * np.mean(latency["ns"]) / 1e9 == pytest.approx(1.0, rel=1e-3)


def test_what_is_slow_after_a_wait_is_over_before_throughput_is_taken(tmp_path: Path) -> None:
    """The first twenty runs after the others' turns take fifty times as long."""
    worker, _ = clocked(tmp_path, lambda turn: 50_000_000 if turn < 20 else 1_000_000)
    cold = worker.answer({"do": "throughput", "seconds": 0.3, "warm_s": 0.0, "warm_runs": 1})
    assert cold["per_s"] < 50
    worker, _ = clocked(tmp_path / "again", lambda turn: 50_000_000 if turn < 20 else 1_000_000)
    warmed = worker.answer({"do": "throughput", "seconds": 0.3, "warm_s": 0.03, "warm_runs": 20})
    assert warmed["per_s"] == pytest.approx(1000.0, rel=1e-2)


ALONE = """
import json, sys
from kd2deploy.measure.worker import Worker
worker = Worker()
worker.answer(json.loads(sys.argv[1]))
worker.answer({"do": "warm", "feeds": sys.argv[2], "seconds": 0.0, "runs": 1})
print(worker.answer({"do": "describe"})["describe"]["runtime"])
print([name for name in ("torch", "transformers", "scipy", "pandas", "pydantic") if name in sys.modules])
"""
"""A worker's work in a process of its own, which tells what it has imported for it."""


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_deployed_file_is_run_without_pytorch(runtime: str, tmp_path: Path) -> None:
    """It takes seconds to import, and memory, in every one of the race's processes."""
    pytest.importorskip(runtime)
    artifact = onnx_artifact(tmp_path)
    named = replace(artifact, opened_by="kd2deploy.exporters.onnx.OnnxSession")
    if runtime == "openvino":
        import openvino

        folder = tmp_path / "openvino"
        openvino.save_model(openvino.convert_model(artifact.path), folder / "openvino_model.xml")
        named = made(folder, "kd2deploy.exporters.openvino.OpenVinoSession")
    ports = {**Parity().ports.to_json(), "task": {"use": "never.built"}}
    request = {**opening(tmp_path), "artifact": named.to_json(), "ports": ports}
    feeds = write_feeds([{"x": np.ones((1, 3), np.float32)}], tmp_path / "feeds")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps(request), str(feeds)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    said, imported = done.stdout.splitlines()
    assert said.startswith(runtime)
    assert imported == "[]"


def test_an_answer_in_parts_is_timed_to_each_of_its_marks(tmp_path: Path) -> None:
    feeds = write_feeds([{"x": np.ones((1, size), np.float32)} for size in (2, 4)], tmp_path / "feeds")
    worker = Worker()
    artifact = replace(sum_artifact(tmp_path), opened_by=f"{HERE}.InParts").to_json()
    worker.answer({**opening(tmp_path), "artifact": artifact})
    worker.feeds = read_feeds(feeds)
    found = worker.answer({"do": "time", "start": 0, "runs": 6, "warm_s": 0.0, "warm_runs": 3})
    assert [len(run) for run in found["marks"]] == [2, 4, 2, 4, 2, 4], "one mark for each number that is added up"
    for marks, whole in zip(found["marks"], found["ns"], strict=True):
        assert 0 < marks[0] < marks[-1] <= whole
        assert marks == sorted(marks)
    whole = worker.answer({"do": "outputs", "feed": str(feeds / "000000.npz"), "to": str(tmp_path / "out.npz")})
    assert whole == {"outputs": ["logits"]}


def test_an_answer_as_one_has_no_marks_inside(tmp_path: Path) -> None:
    feeds = write_feeds([{"x": np.ones((1, 3), np.float32)}], tmp_path / "feeds")
    _, _, found = asked(
        opening(tmp_path),
        {"do": "warm", "feeds": str(feeds), "seconds": 0.0, "runs": 2},
        {"do": "time", "start": 0, "runs": 3, "warm_s": 0.0, "warm_runs": 1},
    )
    assert "marks" not in found


def test_a_users_error_is_an_answer_and_the_worker_lives_on(tmp_path: Path) -> None:
    refused, opened = asked(opening(tmp_path, provider="CUDAExecutionProvider"), opening(tmp_path))
    assert refused["kind"] == "SessionError"
    assert "only numpy is active" in refused["error"]
    assert "open_s" in opened


def test_a_fault_of_the_program_is_not_dressed_up_as_an_answer(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        asked({"do": "dance"})


def test_outputs_are_written_as_arrays(tmp_path: Path) -> None:
    feeds = write_feeds([{"x": np.ones((2, 3), np.float32)}], tmp_path / "feeds")
    file = str(feeds / "000000.npz")
    asked(opening(tmp_path), {"do": "outputs", "feed": file, "to": str(tmp_path / "out.npz")})
    np.testing.assert_array_equal(read_feed(tmp_path / "out.npz")["logits"], [[-3, 3], [-3, 3]])


def test_feeds_are_read_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    folder = write_feeds([{"x": np.array([place])} for place in range(12)], tmp_path / "feeds")
    assert [int(feed["x"][0]) for feed in read_feeds(folder)] == list(range(12))


def test_peak_memory_is_that_of_this_address_space(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  204800 kB\n")
    assert peak_rss_mb(status) == pytest.approx(209.7152)
    assert peak_rss_mb() > 10
