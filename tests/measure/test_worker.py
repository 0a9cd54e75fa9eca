import io
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from measured_sessions import CPU, Parity, SumSession, sum_artifact

from kd2deploy.measure.feeds import read_feed, read_feeds, write_feeds
from kd2deploy.measure.worker import Worker, peak_rss_mb, serve


def asked(*requests: dict[str, object]) -> list[dict[str, object]]:
    replies = io.StringIO()
    serve(io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


def opening(folder: Path, **options: object) -> dict[str, object]:
    artifact = sum_artifact(folder).to_json()
    return {"do": "open", "artifact": artifact, "task": Parity().spec(), "target": asdict(CPU), "options": options}


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
