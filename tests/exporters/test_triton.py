"""NVIDIA Triton's model repository: read by the server's own messages, and its python model run on real texts."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import Case

from kd2deploy.core import Artifact
from kd2deploy.core.serving import Told, serving
from kd2deploy.exporters._triton import student_config, write_triton

FILE = "grpc/model_config_pb2.py"


@pytest.fixture(scope="session")
def messages() -> ModuleType:
    """`ModelConfig` out of Triton's client, whose other parts need what these tests do not."""
    found = importlib.util.find_spec("tritonclient")
    if found is None or found.origin is None:
        pytest.skip("tritonclient is not installed: config.pbtxt cannot be read by the server's own messages")
    spec = importlib.util.spec_from_file_location("model_config_pb2", Path(found.origin).parent / FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def repository(text: Case, plain: Artifact, tmp_path: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        (tmp_path / name).write_bytes((text.source.path / name).read_bytes())
    text.task.reader.write_as_judged(tmp_path)
    write_triton(tmp_path, [text.source, plain], text.task, text.target)
    return tmp_path / "triton_models"


def read(messages: ModuleType, text: str) -> Any:
    from google.protobuf import text_format

    return text_format.Parse(text, messages.ModelConfig())


def test_the_server_reads_every_configuration(messages: ModuleType, repository: Path) -> None:
    found = {folder.name: read(messages, (folder / "config.pbtxt").read_text()) for folder in repository.iterdir()}
    assert all(config.name == name and config.max_batch_size == 8 for name, config in found.items())
    student, reader, whole = found["student"], found["student_reader"], found["student_whole"]
    assert student.backend == "onnxruntime"
    assert [(one.name, list(one.dims)) for one in student.input] == [
        ("input_ids", [-1]),
        ("attention_mask", [-1]),
        ("token_type_ids", [-1]),
    ]
    assert [(one.name, list(one.dims)) for one in student.output] == [("logits", [2])]
    assert not student.parameters  # threads are the server's to set
    assert student.HasField("dynamic_batching")
    assert reader.backend == "python"
    assert [(one.name, one.data_type) for one in reader.input] == [("text", messages.TYPE_STRING)]
    assert [one.name for one in reader.output] == [one.name for one in student.input]
    assert whole.platform == "ensemble"
    first, second = whole.ensemble_scheduling.step
    assert (first.model_name, second.model_name) == ("student_reader", "student")
    assert dict(first.output_map) == dict(second.input_map)
    assert dict(second.output_map) == {"logits": "logits"}
    assert all((folder / "1").is_dir() for folder in repository.iterdir())


def test_pictures_have_fixed_sizes_and_no_reader(messages: ModuleType, image: Case) -> None:
    config = read(messages, student_config("openvino", image.task, image.target, 16, Told()))
    assert [(one.name, list(one.dims), one.data_type) for one in config.input] == [
        ("pixel_values", [1, 32, 32], messages.TYPE_FP32)
    ]
    assert config.backend == "openvino"
    assert config.max_batch_size == 16
    assert image.task.reader.server_reader() is None


def test_the_backend_is_told_what_was_judged_and_where_it_has_no_word_for_it_the_reader_is(
    messages: ModuleType, image: Case
) -> None:
    named = {"openvino": ("openvino.OpenVinoSession", "f32", "bf16"), "onnxruntime": ("onnx.OnnxSession", True, False)}
    written = {}
    for backend, (name, *values) in named.items():
        option = "precision" if backend == "openvino" else "spinning"
        told = serving(Artifact(Path("file"), "", f"kd2deploy.exporters.{name}")).told
        for value in values:
            written[value] = student_config(backend, image.task, image.target, 8, told({option: value}))
    assert read(messages, written["bf16"]).parameters["HINT_BF16"].string_value == "YES"
    assert "# Judged with INFERENCE_PRECISION_HINT f32, which this backend cannot be told." in written["f32"]
    assert "# Judged with session.intra_op.allow_spinning 0, which this backend cannot be told." in written[False]
    assert "Judged" not in written[True] + written["bf16"]
    assert not any(read(messages, written[value]).parameters for value in ("f32", True, False))


def python_model(place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The python model, given stand-ins for the server's classes, which exist inside the server alone."""
    server: Any = ModuleType("triton_python_backend_utils")
    server.Tensor = lambda name, array: SimpleNamespace(name=name, array=array)
    server.InferenceResponse = lambda output_tensors: {one.name: one.array for one in output_tensors}
    server.get_input_tensor_by_name = lambda request, name: SimpleNamespace(as_numpy=lambda: request[name])
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", server)
    names: dict[str, Any] = {"__file__": str(place / "model.py")}
    exec((place / "model.py").read_text(), names)
    model = names["TritonPythonModel"]()
    model.initialize({})
    return model


def test_the_reader_makes_the_judged_tokens_and_pads_what_came_together_alike(
    text: Case, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = python_model(repository / "student_reader/1", monkeypatch)
    requests = [["a good film"], ["", "the plot was 😀 very slow"], ["שלום film " * 40]]
    given = [{"text": np.array([[one.encode()] for one in texts], dtype=object)} for texts in requests]
    for round_, length in ((given, 32), (given[:2], 16)):
        answers = model.execute(round_)
        assert {array.shape[1] for one in answers for array in one.values()} == {length}
        for texts, answer in zip(requests, answers, strict=False):
            rows = [text.task.reader.row(one) for one in texts]
            judged = text.task.reader.feed(text.task.reader.encode(rows, text.source.path))
            assert answer.keys() == judged.keys()
            for name, array in judged.items():
                np.testing.assert_array_equal(answer[name][:, : array.shape[1]], array)
                assert not answer["attention_mask"][:, array.shape[1] :].any()
                assert answer[name].dtype == np.int64
