"""What a session class says of its bundle and its servers, ours and a user's."""

import ast
import sys
from pathlib import Path
from types import ModuleType

import pytest

from kd2deploy.core import Artifact, trust
from kd2deploy.core.serving import Serving, code_that_opens, opened_in_bundle, place_in_bundle, serving
from kd2deploy.errors import TrustError

OURS = "kd2deploy.exporters"


def artifact(opened_by: str, precision: str = "fp32", **details: object) -> Artifact:
    return Artifact(Path("model"), "0", opened_by, precision=precision, details=details)


@pytest.mark.parametrize(
    ("one", "file", "backend"),
    [
        (artifact(f"{OURS}.onnx.OnnxSession", domains=["ai.onnx"]), "onnx/model.onnx", "onnxruntime"),
        (artifact(f"{OURS}.onnx.OnnxSession", domains=["com.microsoft"]), "ort/model.onnx", "onnxruntime"),
        (artifact(f"{OURS}.onnx.OnnxSession", "int8", mode="dynamic"), "onnx/model_quantized.onnx", "onnxruntime"),
        (artifact(f"{OURS}.openvino.OpenVinoSession"), "openvino/openvino_model.xml", "openvino"),
        (artifact(f"{OURS}.tensorrt.TensorRTSession"), "tensorrt/model.engine", ""),
        (artifact(f"{OURS}.litert.LitertSession"), "litert/model.tflite", ""),
        (artifact(f"{OURS}.torch.TorchSession"), "torch", ""),
    ],
)
def test_each_of_ours_says_where_it_lies_who_serves_it_and_how_it_is_opened(
    one: Artifact, file: str, backend: str
) -> None:
    assert opened_in_bundle(one) == file
    assert serving(one).backend == backend
    code = code_that_opens(one, "AutoModelForSequenceClassification")
    assert repr(file) in code
    assert any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in ast.parse(code).body)


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of a user's with two sessions: one says nothing, one says all."""
    module = ModuleType("sessions_of_theirs")
    kept = "def run(self, feed): ...\n def describe(self): ...\n def __enter__(self): ...\n def __exit__(self, *a): ..."
    exec(f"class Silent:\n {kept}\nclass Saying:\n {kept}", vars(module))
    module.Saying.serving = Serving("theirs/model.bin", backend="custom", code="run = load({file})")
    monkeypatch.setitem(sys.modules, "sessions_of_theirs", module)
    trust("sessions_of_theirs")
    return module


def test_a_users_session_has_a_folder_of_its_own_name_and_is_opened_by_this_program(theirs: ModuleType) -> None:
    one = artifact("sessions_of_theirs.Silent")
    assert place_in_bundle(one) == "silent"
    assert serving(one).backend == ""
    code = code_that_opens(one, "")
    assert "open_bundle" in code
    assert "trust=['sessions_of_theirs.Silent']" in code
    ast.parse(code)


def test_what_a_users_session_says_is_taken(theirs: ModuleType) -> None:
    one = artifact("sessions_of_theirs.Saying")
    assert opened_in_bundle(one) == "theirs/model.bin"
    assert serving(one).backend == "custom"
    assert code_that_opens(one, "") == "run = load('theirs/model.bin')"


def test_nobody_elses_session_is_asked() -> None:
    with pytest.raises(TrustError, match="code of others"):
        place_in_bundle(artifact("somewhere.Session"))
