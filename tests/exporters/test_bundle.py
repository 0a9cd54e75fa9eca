"""The bundle: complete, student only, refused when a byte changed, opened as it was measured."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Case

from kd2deploy.core import Artifact, made
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters.bundle import Contents, copy_network, open_bundle, read_bundle, write_bundle, write_sums
from kd2deploy.exporters.openvino import openvino_from_onnx
from kd2deploy.exporters.quantize import Int8, int8_from_onnx


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
        student=text.source.path,
        task=text.task,
        target=text.target,
        contents=Contents(
            deployed=artifacts["onnx-fused-int8"],
            files={"README.md": "# A student\n", "recipe.yaml": "task: text_classification\n"},
            artifacts=artifacts,
            session={"io_binding": False},
        ),
    )


def test_every_file_stands_where_its_reader_looks(bundle: Path) -> None:
    for name in (
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        *("onnx/model.onnx", "onnx/model_quantized.onnx", "ort/model.onnx", "ort/model_quantized.onnx"),
        *("triton_models/student/config.pbtxt", "triton_models/student/1/model.onnx"),
        *("README.md", "recipe.yaml", "bundle.json", "SHA256SUMS"),
    ):
        assert (bundle / name).is_file(), name


def test_no_folder_is_taken_for_the_one_that_optimum_searches(bundle: Path) -> None:
    """optimum looks for "onnx" in whole paths, and then opens the file of the wanted name that it meets first."""
    named = {file.relative_to(bundle).parts[0] for file in bundle.rglob("*.onnx")}
    assert {name for name in named if "onnx" in name} == {"onnx"}


@pytest.mark.parametrize(("version", "read"), [(1, True), (2, True), (3, False)])
def test_older_bundles_are_read_and_newer_ones_refused(bundle: Path, version: int, read: bool) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text())
    (bundle / "ort").rename(bundle / "onnxruntime")  # where the first format had it
    manifest["format"], manifest["deployed"]["path"] = version, "onnxruntime/model_quantized.onnx"
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    write_sums(bundle)
    if read:
        assert read_bundle(bundle).artifact.path == bundle / "onnxruntime/model_quantized.onnx"
    else:
        with pytest.raises(SessionError, match="has format 3, and this version reads 1 to 2"):
            read_bundle(bundle)


def test_transformers_reads_it(text: Case, bundle: Path) -> None:
    net = text.task.networks.load(bundle)
    features = text.task.reader.encode([{"text": "a good film", "label": None}], bundle)
    assert text.task.at(bundle).inputs == text.task.inputs
    assert net.get_submodule("classifier") is not None
    assert len(features) == 1


def test_predict_uses_the_deployed_file(text: Case, artifacts: dict[str, Artifact], bundle: Path) -> None:
    found = read_bundle(bundle)
    assert found.artifact.sha256 == artifacts["onnx-fused-int8"].sha256
    assert found.artifact.path == bundle / "ort/model_quantized.onnx"
    assert found.task.spec() == text.task.spec()
    assert found.target.threads == 1
    rows = [{"text": "a good film", "label": None}]
    with open_bundle(bundle) as session:
        outputs = session.run(found.task.reader.feed(found.task.reader.encode(rows, found.folder)))
        assert session.describe()["precision"] == "int8"
    assert found.task.metric.answer(outputs)[0]["label"] in ("neg", "pos")


def test_sums_are_those_of_sha256sum(bundle: Path) -> None:
    import subprocess

    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=bundle, capture_output=True, text=True, check=True)
    assert checked.stdout.count(": OK") == sum(file.is_file() for file in bundle.rglob("*")) - 1


@pytest.mark.parametrize("name", ["ort/model_quantized.onnx", "tokenizer.json", "bundle.json"])
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
            student=text.source.path,
            task=text.task,
            target=text.target,
            contents=Contents(deployed=artifacts["onnx"], artifacts={}),
        )


def test_the_network_itself_can_be_deployed(text: Case, tmp_path: Path) -> None:
    folder = write_bundle(
        tmp_path / "eager",
        student=text.source.path,
        task=text.task,
        target=text.target,
        contents=Contents(deployed=text.source, artifacts={"eager": text.source}),
    )
    with open_bundle(folder) as session:
        assert np.isfinite(session.run(text.samples[0])["logits"]).all()
    assert not (folder / "triton_models").exists()


def test_openvino_gets_its_own_triton_backend(text: Case, plain: Artifact, tmp_path: Path) -> None:
    (tmp_path / "openvino").mkdir()
    deployed = openvino_from_onnx(plain, text.task, text.target, tmp_path / "openvino", text.samples)
    folder = write_bundle(
        tmp_path / "bundle",
        student=text.source.path,
        task=text.task,
        target=text.target,
        contents=Contents(deployed=deployed, artifacts={"onnx": plain}),
    )
    assert 'backend: "openvino"' in (folder / "triton_models/student/config.pbtxt").read_text()
    assert (folder / "triton_models/student/1/model.bin").is_file()
    assert json.loads((folder / "bundle.json").read_text())["deployed"]["path"] == "openvino"
    with open_bundle(folder) as session:
        assert np.isfinite(session.run(text.samples[0])["logits"]).all()


def test_an_engine_comes_with_the_graphs_that_it_is_built_anew_from(
    text: Case, plain: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "int8").mkdir()
    arguments = {"mode": "static", "layout": "tensorrt"}
    pairs = int8_from_onnx(plain, text.task, text.target, tmp_path / "int8", text.samples, options=Int8(**arguments))
    (tmp_path / "model.engine").write_bytes(b"an engine")
    engine = made(tmp_path / "model.engine", "kd2deploy.exporters.tensorrt.TensorRTSession", parent=pairs)
    folder = write_bundle(
        tmp_path / "bundle",
        student=text.source.path,
        task=text.task,
        target=text.target,
        contents=Contents(deployed=engine, artifacts={"tensorrt-int8": engine}, sources=[plain, pairs]),
    )
    for name in ("tensorrt/model.engine", "onnx/model.onnx", "onnx/model_int8_tensorrt.onnx"):
        assert (folder / name).is_file(), name
    assert (folder / "triton_models/student/1/model.onnx").read_bytes() == plain.path.read_bytes()
    assert json.loads((folder / "bundle.json").read_text())["variants"] == {"tensorrt-int8": "tensorrt/model.engine"}


def test_the_network_of_a_bundle_is_copied_without_the_bundle(text: Case, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    copy_network(bundle, tmp_path / "copy")
    names = {file.name for file in (tmp_path / "copy").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"bundle.json", "SHA256SUMS", "onnx", "triton_models"}
    with pytest.raises(ConvertError, match=r"has no config\.json"):
        copy_network(bundle / "triton_models", tmp_path)
