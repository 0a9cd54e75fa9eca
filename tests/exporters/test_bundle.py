"""The bundle: complete, student only, refused when a byte changed, opened as it was measured."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Case

from kd2deploy.core import Artifact, made
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters.bundle import copy_network, open_bundle, read_bundle, triton_config, write_bundle
from kd2deploy.exporters.openvino import openvino_from_onnx
from kd2deploy.exporters.quantize import int8_from_onnx


@pytest.fixture
def artifacts(text: Case, plain: Artifact, fused: Artifact, tmp_path: Path) -> dict[str, Artifact]:
    found = {"eager": text.source, "onnx": plain, "onnx-fused": fused}
    for name, source in (("onnx-int8", plain), ("onnx-fused-int8", fused)):
        (tmp_path / name).mkdir()
        found[name] = int8_from_onnx(source, text.task, text.target, tmp_path / name, text.samples)
    return found


@pytest.fixture
def bundle(text: Case, artifacts: dict[str, Artifact], tmp_path: Path) -> Path:
    return write_bundle(
        tmp_path / "bundle",
        deployed=artifacts["onnx-fused-int8"],
        student=text.source.path,
        task=text.task,
        target=text.target,
        extra_files={"README.md": "# A student\n", "recipe.yaml": "task: text_classification\n"},
        artifacts=artifacts,
        session={"io_binding": False},
    )


def test_every_file_stands_where_its_reader_looks(bundle: Path) -> None:
    for name in (
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        *("onnx/model.onnx", "onnx/model_quantized.onnx", "onnxruntime/model.onnx", "onnxruntime/model_quantized.onnx"),
        *("triton/student/config.pbtxt", "triton/student/1/model.onnx"),
        *("README.md", "recipe.yaml", "bundle.json", "SHA256SUMS"),
    ):
        assert (bundle / name).is_file(), name


def test_transformers_reads_it(text: Case, bundle: Path) -> None:
    net = text.task.load(bundle)
    features = text.task.encode([{"text": "a good film", "label": None}], bundle)
    assert text.task.at(bundle).inputs == text.task.inputs
    assert net.get_submodule("classifier") is not None
    assert len(features) == 1


def test_predict_uses_the_deployed_file(text: Case, artifacts: dict[str, Artifact], bundle: Path) -> None:
    found = read_bundle(bundle)
    assert found.artifact.sha256 == artifacts["onnx-fused-int8"].sha256
    assert found.artifact.path == bundle / "onnxruntime/model_quantized.onnx"
    assert found.task.spec() == text.task.spec()
    assert found.target.threads == 1
    rows = [{"text": "a good film", "label": None}]
    with open_bundle(bundle) as session:
        outputs = session.run(found.task.feed(found.task.encode(rows, found.folder)))
        assert session.describe()["precision"] == "int8"
    assert found.task.answer(outputs)[0]["label"] in ("neg", "pos")


def test_sums_are_those_of_sha256sum(bundle: Path) -> None:
    import subprocess

    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=bundle, capture_output=True, text=True, check=True)
    assert checked.stdout.count(": OK") == sum(file.is_file() for file in bundle.rglob("*")) - 1


@pytest.mark.parametrize("name", ["onnxruntime/model_quantized.onnx", "tokenizer.json", "bundle.json"])
def test_a_changed_byte_is_refused(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(SessionError, match=re.escape(name) + " was changed"):
        open_bundle(bundle)


def test_a_lost_file_is_named(bundle: Path) -> None:
    (bundle / "tokenizer.json").unlink()
    with pytest.raises(SessionError, match=r"tokenizer\.json is missing"):
        open_bundle(bundle)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="not a bundle"):
        open_bundle(tmp_path)


def test_nothing_is_written_over(text: Case, artifacts: dict[str, Artifact], bundle: Path) -> None:
    with pytest.raises(ConvertError, match="not empty"):
        write_bundle(
            bundle,
            deployed=artifacts["onnx"],
            student=text.source.path,
            task=text.task,
            target=text.target,
            extra_files={},
            artifacts={},
        )


def test_the_network_itself_can_be_deployed(text: Case, tmp_path: Path) -> None:
    folder = write_bundle(
        tmp_path / "eager",
        deployed=text.source,
        student=text.source.path,
        task=text.task,
        target=text.target,
        extra_files={},
        artifacts={"eager": text.source},
    )
    with open_bundle(folder) as session:
        assert np.isfinite(session.run(text.samples[0])["logits"]).all()
    assert not (folder / "triton").exists()


def test_openvino_gets_its_own_triton_backend(text: Case, plain: Artifact, tmp_path: Path) -> None:
    (tmp_path / "openvino").mkdir()
    deployed = openvino_from_onnx(plain, text.task, text.target, tmp_path / "openvino", text.samples)
    folder = write_bundle(
        tmp_path / "bundle",
        deployed=deployed,
        student=text.source.path,
        task=text.task,
        target=text.target,
        extra_files={},
        artifacts={"onnx": plain},
    )
    assert 'backend: "openvino"' in (folder / "triton/student/config.pbtxt").read_text()
    assert (folder / "triton/student/1/model.bin").is_file()
    assert json.loads((folder / "bundle.json").read_text())["deployed"]["path"] == "openvino"
    with open_bundle(folder) as session:
        assert np.isfinite(session.run(text.samples[0])["logits"]).all()


def test_an_engine_comes_with_the_graphs_that_it_is_built_anew_from(
    text: Case, plain: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "int8").mkdir()
    arguments = {"mode": "static", "layout": "tensorrt"}
    pairs = int8_from_onnx(plain, text.task, text.target, tmp_path / "int8", text.samples, **arguments)
    (tmp_path / "model.engine").write_bytes(b"an engine")
    engine = made(tmp_path / "model.engine", "kd2deploy.exporters.tensorrt.TensorRTSession", parent=pairs)
    folder = write_bundle(
        tmp_path / "bundle",
        deployed=engine,
        student=text.source.path,
        task=text.task,
        target=text.target,
        extra_files={},
        artifacts={"tensorrt-int8": engine},
        sources=[plain, pairs],
    )
    for name in ("tensorrt/model.engine", "onnx/model.onnx", "onnx/model_int8_tensorrt.onnx"):
        assert (folder / name).is_file(), name
    assert (folder / "triton/student/1/model.onnx").read_bytes() == plain.path.read_bytes()
    assert json.loads((folder / "bundle.json").read_text())["variants"] == {"tensorrt-int8": "tensorrt/model.engine"}


def test_the_network_of_a_bundle_is_copied_without_the_bundle(text: Case, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    copy_network(bundle, tmp_path / "copy")
    names = {file.name for file in (tmp_path / "copy").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"bundle.json", "SHA256SUMS", "onnx", "triton"}
    with pytest.raises(ConvertError, match=r"has no config\.json"):
        copy_network(bundle / "triton", tmp_path)


def test_triton_learns_types_and_sizes_without_the_batch_axis(image: Case) -> None:
    config = triton_config("onnxruntime", image.task, image.target)
    assert 'input [ { name: "pixel_values" data_type: TYPE_FP32 dims: [ 1, 32, 32 ] } ]' in config
    assert 'output [ { name: "logits" data_type: TYPE_FP32 dims: [ 3 ] } ]' in config
    assert config.count("{") == config.count("}")
    assert 'key: "intra_op_thread_count" value: { string_value: "1" }' in config
