"""OpenVINO on plain and quantized graphs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Case

from kd2deploy.core import Artifact, Target, open_session
from kd2deploy.core.serving import code_that_opens
from kd2deploy.errors import ConvertError
from kd2deploy.exporters._cpu import multiplies_bf16
from kd2deploy.exporters._signal_stack import own_signal_stack
from kd2deploy.exporters.onnx.checking import run_all
from kd2deploy.exporters.openvino import MODEL, library, openvino_from_onnx
from kd2deploy.exporters.quantize import Int8, int8_from_onnx


@pytest.fixture(scope="module")
def converted(text: Case, plain: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return openvino_from_onnx(plain, text.task, text.target, tmp_path_factory.mktemp("openvino"), text.samples)


def test_it_answers_as_onnx_runtime_does(text: Case, plain: Artifact, converted: Artifact) -> None:
    expected = run_all(plain.path, text.task, text.target, text.samples)
    with open_session(converted, text.task.ports, text.target) as session:
        for feed, outputs in zip(text.samples, expected, strict=True):
            np.testing.assert_allclose(session.run(feed)["logits"], outputs["logits"], rtol=1e-3, atol=1e-4)


def test_answers_outlive_the_next_run(text: Case, converted: Artifact) -> None:
    with open_session(converted, text.task.ports, text.target) as session:
        first = session.run(text.samples[0])["logits"]
        kept = first.copy()
        session.run(text.samples[1])
        np.testing.assert_array_equal(first, kept)


def test_precision_and_threads_are_those_asked_for(text: Case, converted: Artifact) -> None:
    with open_session(converted, text.task.ports, Target("one", "", "cpu", {}, threads=1)) as session:
        said = session.describe()
    assert (said["precision"], said["threads"], said["streams"]) == ("fp32", "1", "1")


@pytest.mark.skipif(not multiplies_bf16(), reason="this processor has no instructions for bf16")
def test_bf16_is_what_is_computed_in_where_it_is_asked_for(text: Case, converted: Artifact) -> None:
    with (
        open_session(converted, text.task.ports, text.target) as one,
        open_session(converted, text.task.ports, text.target, {"precision": "bf16"}) as other,
    ):
        assert other.describe()["precision"] == "bf16"
        expected, found = one.run(text.samples[0])["logits"], other.run(text.samples[0])["logits"]
    assert not np.array_equal(expected, found)
    np.testing.assert_allclose(found, expected, atol=0.05 * float(np.abs(expected).max()) + 0.01)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_the_cards_code_computes_in_what_was_judged(text: Case, converted: Artifact, precision: str) -> None:
    """Left alone the plugin takes bf16 on processors that have it."""
    names: dict[str, Any] = {}
    with own_signal_stack():  # as whoever serves by it would not need, but the tests after this one do
        exec(code_that_opens(converted, "", str(converted.path / MODEL), {"precision": precision}), names)
    with open_session(converted, text.task.ports, text.target, {"precision": precision}) as session:
        told = names["compiled"].get_property("INFERENCE_PRECISION_HINT").get_type_name()
        assert told == precision
        for feed in text.samples[:2]:
            np.testing.assert_allclose(names["run"](feed)["logits"], session.run(feed)["logits"], rtol=1e-3, atol=1e-4)


def test_the_folder_holds_the_names_that_optimum_reads(converted: Artifact) -> None:
    assert sorted(file.name for file in converted.path.iterdir()) == ["openvino_model.bin", "openvino_model.xml"]


def test_quantized_graphs_keep_their_precision(text: Case, plain: Artifact, tmp_path: Path) -> None:
    for name in ("qdq", "openvino"):
        (tmp_path / name).mkdir()
    source = int8_from_onnx(plain, text.task, text.target, tmp_path / "qdq", text.samples, options=Int8(mode="static"))
    made = openvino_from_onnx(source, text.task, text.target, tmp_path / "openvino", text.samples)
    assert made.precision == "int8"
    with open_session(made, text.task.ports, text.target) as session:
        assert (session.describe()["precision"], session.describe()["arithmetic"]) == ("int8", "fp32")
        assert np.isfinite(session.run(text.samples[0])["logits"]).all()


def test_fused_graphs_are_refused(text: Case, fused: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match=r"com\.microsoft"):
        openvino_from_onnx(fused, text.task, text.target, tmp_path, text.samples)


def test_nothing_is_reported_to_openvinos_maker() -> None:
    library()
    from openvino_telemetry import Telemetry

    assert Telemetry(app_name="a", app_version="1", tid="t").consent is False


LET_GO_ELSEWHERE = """
import os, signal, sys, threading
import json
import subprocess
import sys
from pathlib import Path
from kd2deploy.core import Artifact, Target, build_task
from kd2deploy.exporters.openvino import OpenVinoSession

artifact = Artifact.from_json(json.loads(sys.argv[1]))
held = [OpenVinoSession(artifact, build_task(json.loads(sys.argv[2])).ports, Target("one", "", "cpu", {}, threads=1))]
signal.signal(signal.SIGCHLD, lambda *_: print("handled"))
ends = threading.Thread(target=held.clear)
ends.start()
ends.join()
os.kill(os.getpid(), signal.SIGCHLD)
print("alive")
"""


def test_a_signal_is_handled_also_after_a_session_was_let_go_of_in_another_thread(
    text: Case, converted: Artifact
) -> None:
    """The plugin's own stack for signals is gone then."""
    given = [json.dumps(converted.to_json()), json.dumps(text.task.spec())]
    command = [sys.executable, "-c", f"import json{LET_GO_ELSEWHERE}", *given]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stdout.split()) == (0, ["handled", "alive"]), found.stderr
