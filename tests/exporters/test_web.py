"""Files for a browser, run in a real one: the same answers as elsewhere, timed by the page's own clock."""

import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import Case

from kd2deploy.core import Artifact, Clocked
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters.onnx.checking import run_all
from kd2deploy.exporters.quantize import Int8, int8_from_onnx
from kd2deploy.exporters.web import WebSession, browser, runtime, web_from_onnx
from kd2deploy.exporters.web.session import ISOLATED, served
from kd2deploy.measure.neighbours import in_use
from kd2deploy.measure.worker import Worker


@pytest.fixture(scope="module", autouse=True)
def _there() -> None:
    if browser.chromium() is None:
        pytest.skip("no chromium on this machine")
    try:
        runtime.runtime_files()
    except ConvertError as error:
        pytest.skip(f"ONNX Runtime Web is not here: {error}")


@pytest.fixture(scope="module")
def web(text: Case, plain: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return web_from_onnx(plain, text.task, text.target, tmp_path_factory.mktemp("web"), text.samples)


def test_the_folder_has_all_that_a_page_loads(web: Artifact, plain: Artifact) -> None:
    assert {file.name for file in web.path.iterdir()} == {"model.onnx", "page.js", *runtime.FILES}
    assert web.parent == plain.sha256
    web.verify()


def test_the_page_answers_as_onnx_runtime_and_its_clock_leaves_out_the_carrying(
    text: Case, plain: Artifact, web: Artifact
) -> None:
    expected = run_all(plain.path, text.task, text.target, text.samples)
    with WebSession(web, text.task.ports, text.target) as session:
        assert isinstance(session, Clocked)
        before, own = time.perf_counter_ns(), session.clock_ns()
        for feed, known in zip(text.samples, expected, strict=True):
            for name, array in session.run(feed).items():
                np.testing.assert_allclose(array, known[name], atol=1e-4)
        wall, own = time.perf_counter_ns() - before, session.clock_ns() - own
        assert 0 < own < wall
        told = session.describe()
    assert told["runtime"].startswith("onnxruntime-web 1.")
    assert "Chrome" in told["browser"]
    assert told["threads"] == str(text.target.threads or told["threads"])


def test_dynamic_int8_runs_there_too(text: Case, plain: Artifact, tmp_path: Path) -> None:
    (tmp_path / "int8").mkdir()
    (tmp_path / "web").mkdir()
    mode = Int8(mode="dynamic")
    small = int8_from_onnx(plain, text.task, text.target, tmp_path / "int8", text.samples, options=mode)
    there = web_from_onnx(small, text.task, text.target, tmp_path / "web", text.samples)
    assert there.precision == "int8"
    (known,) = run_all(small.path, text.task, text.target, text.samples[:1])
    with WebSession(there, text.task.ports, text.target) as session:
        found = session.run(text.samples[0])
    for name, array in found.items():
        np.testing.assert_allclose(array, known[name], atol=0.05)


def test_a_worker_tells_time_by_a_session_that_has_its_own_clock(text: Case, web: Artifact) -> None:
    worker = Worker()
    worker.open(web.to_json(), text.task.ports.to_json(), asdict(text.target), {})
    try:
        worker.feeds = text.samples[:2]
        assert worker.session is not None
        assert worker.clock == worker.session.clock_ns  # type: ignore[attr-defined]
        assert len(worker.time(0, 3, 0.0, 1)["ns"]) == 3
    finally:
        worker.close()


def test_what_only_a_process_of_ones_own_knows_is_not_told_of_a_page(text: Case, web: Artifact) -> None:
    worker = Worker()
    worker.open(web.to_json(), text.task.ports.to_json(), asdict(text.target), {})
    try:
        worker.feeds = text.samples[:2]
        assert worker.time(0, 3, 0.0, 1)["cpu_s"] is None
        assert worker.describe()["peak_rss_mb"] == 0
    finally:
        worker.close()


def test_what_a_page_used_is_ours_while_it_is_open_and_when_it_is_closed(tmp_path: Path) -> None:
    before = in_use().by_us_s
    with browser.Chromium(tmp_path) as page:
        page.value("(() => { let sum = 0; for (let turn = 0; turn < 1e9; turn++) sum += turn; return sum })()")
        alive = in_use().by_us_s
        assert alive - before > 0.3, "a thousand million additions"
    assert in_use().by_us_s >= alive, "it is not lost with the page's process"


def test_only_the_artifacts_own_files_are_served_and_each_isolated(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "secret").write_bytes(b"no")
    server = served({"/model.onnx": tmp_path / "model.onnx"})
    try:
        at = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(f"{at}/model.onnx") as answer:
            assert answer.read() == b"graph"
            assert dict(ISOLATED).items() <= dict(answer.headers).items()
        for wrong in ("/secret", "/../secret", "/%2e%2e/secret"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(at + wrong)
    finally:
        server.shutdown()
        server.server_close()


def test_other_bytes_than_the_pinned_package_are_refused(tmp_path: Path) -> None:
    (tmp_path / runtime.FILE).write_bytes(b"something else")
    with pytest.raises(ConvertError, match="is not the pinned onnxruntime-web"):
        runtime.runtime_files(tmp_path)
    assert not (tmp_path / runtime.VERSION).exists()


def test_a_graph_that_the_runtime_cannot_read_is_one_line(text: Case, web: Artifact, tmp_path: Path) -> None:
    for file in web.path.iterdir():
        (tmp_path / file.name).write_bytes(b"torn" if file.name == "model.onnx" else file.read_bytes())
    torn = Artifact(tmp_path, "", web.opened_by, made_by="test")
    with pytest.raises(SessionError, match="the page failed"):
        WebSession(torn, text.task.ports, text.target)


def test_without_a_browser_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(browser, "chromium", lambda: None)
    with pytest.raises(SessionError, match="apt-get install chromium"):
        browser.Chromium(tmp_path)
