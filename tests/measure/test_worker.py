import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from measured_sessions import CPU, Parity, SumSession, onnx_artifact, sum_artifact

from kd2deploy.measure.feeds import read_feed, read_feeds, write_feeds
from kd2deploy.measure.worker import Worker, peak_rss_mb, serve


def asked(*requests: dict[str, object]) -> list[dict[str, object]]:
    replies = io.StringIO()
    serve(io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


def opening(folder: Path, **options: object) -> dict[str, object]:
    artifact = sum_artifact(folder).to_json()
    ports = {name: [asdict(port) for port in getattr(Parity(), name)] for name in ("inputs", "outputs")}
    spec = Parity().spec()
    return {"do": "open", "artifact": artifact, "task": spec, **ports, "target": asdict(CPU), "options": options}


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

    def described(stream: object) -> Mapping[str, str]:
        used = iter([500.0, 720.25])
        worker = Worker(times=lambda session, feeds: {"gpu_ms": 0.5 * len(feeds)}, memory_mb=lambda device: next(used))
        worker.answer({**opening(tmp_path), "target": asdict(replace(CPU, device="cuda"))})
        worker.answer({"do": "warm", "feeds": str(feeds), "seconds": 0.0, "runs": 1})
        assert isinstance(worker.session, SumSession)
        worker.session.stream = stream
        return worker.answer({"do": "describe"})["describe"]

    resident, other = described("a stream"), described(None)
    assert (resident["gpu_ms"], resident["peak_device_mb"]) == ("1.5000", "220.2")
    assert "gpu_ms" not in other
    assert other["peak_device_mb"] == "220.2"


def test_several_requests_in_flight_are_all_counted(tmp_path: Path) -> None:
    feeds = write_feeds([{"x": np.ones((1, 3), np.float32)}], tmp_path / "feeds")
    *_, rate = asked(
        opening(tmp_path),
        {"do": "warm", "feeds": str(feeds), "seconds": 0.0, "runs": 2},
        {"do": "throughput", "seconds": 0.0, "in_flight": 3},
    )
    assert rate["requests"] == 3
    assert rate["per_s"] > 0


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


def test_a_deployed_file_is_run_without_pytorch(tmp_path: Path) -> None:
    """It takes seconds to import, in every one of the race's processes."""
    code = """
import json, sys
from kd2deploy.measure.worker import Worker
import kd2deploy.exporters.onnx, kd2deploy.exporters.openvino
worker = Worker()
worker.answer(json.loads(sys.argv[1]))
worker.answer({"do": "warm", "feeds": sys.argv[2], "seconds": 0.0, "runs": 1})
worker.answer({"do": "describe"})
print([name for name in ("torch", "transformers", "scipy", "pandas", "pydantic") if name in sys.modules])
"""
    artifact = onnx_artifact(tmp_path)
    named = {**artifact.to_json(), "opened_by": "kd2deploy.exporters.onnx.OnnxSession"}
    request = {**opening(tmp_path), "artifact": named, "task": {"use": "never.built"}}
    feeds = write_feeds([{"x": np.ones((1, 3), np.float32)}], tmp_path / "feeds")
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(request), str(feeds)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


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
