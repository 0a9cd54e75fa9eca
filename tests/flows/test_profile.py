"""Networks, bundles and exported files side by side, each reading the same rows in its own way."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_bundle import small_bundle
from tiny_models import save_encoder
from tiny_speech import save_speech

from kd2deploy.errors import SessionError, TrustError
from kd2deploy.flows import profile
from kd2deploy.flows.exported import EXPORTED, recalled
from kd2deploy.flows.files import export_alone
from kd2deploy.flows.given import Given
from kd2deploy.measure.protocol import quick
from kd2deploy.measure.stop_rule import StopRule
from kd2deploy.report import Report, render_markdown

TEXTS = ["a good film", "the plot was dull", "very slow", "fun"]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Races that end as soon as every contender was timed."""
    plan = replace(quick(), stop=StopRule(min_s=0.0, relative=10.0), block_s=0.001, warm_s=0.0, throughput_s=0.0)
    monkeypatch.setattr(profile, "full", lambda: plan)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks that read different inputs, and rows."""
    place = tmp_path_factory.mktemp("profiled")
    save_encoder(place / "distil", "distilbert")
    save_encoder(place / "bert", "bert")
    (place / "rows.csv").write_text("text\n" + "".join(f"{text}\n" for text in TEXTS))
    return place


def given(data: Path | None = None) -> Given:
    return Given("text_classification", {}, str(data) if data else None, max_length=16)


def profiled(*places: Path, data: Path | None = None) -> Report:
    return profile.profile_alone([str(place) for place in places], "cpu", given(data), None)


def test_each_is_timed_on_its_own_inputs(folder: Path, tmp_path: Path) -> None:
    """The first reads no token types, and the others do: the same rows are told to each in its own words."""
    bundle = small_bundle(tmp_path)
    found = profiled(folder / "distil", folder / "bert", bundle, data=folder / "rows.csv")
    assert [one.name for one in found.contenders] == [str(folder / "distil"), str(folder / "bert"), str(bundle)]
    assert all(one.timing is not None and not one.note for one in found.contenders)
    assert [one.against for one in found.speedups] == [
        f"{folder / 'distil'} / {other}" for other in (folder / "bert", bundle)
    ]


def test_each_is_told_as_what_it_is_and_none_as_a_teacher(folder: Path, exported: Path, tmp_path: Path) -> None:
    """Nobody named a teacher: pages say network, bundle or exported file, and what the others are divided by."""
    bundle = small_bundle(tmp_path)
    file = exported / recalled(exported)["onnx"].artifact.path
    found = profiled(folder / "distil", bundle, file)
    assert [one.role for one in found.contenders] == ["network", "bundle", "exported"]
    page = render_markdown(found)
    for words in ("a network, eager", "a bundle's deployed file", "an exported file", "the first that was named"):
        assert words in page
    assert "teacher" not in page
    assert "other way to deploy" not in page


@pytest.fixture(scope="module")
def exported(folder: Path) -> Path:
    lines = export_alone(str(folder / "bert"), folder / "out", "cpu", ["onnx", "openvino"], given())
    assert [line.split(":")[0] for line in lines] == ["onnx", "openvino"]
    return folder / "out"


def test_a_folder_of_exported_files_is_all_of_them(folder: Path, exported: Path) -> None:
    found = profiled(exported)
    assert [one.name for one in found.contenders] == [f"{exported}: onnx", f"{exported}: openvino"]
    assert [one.runtime.split()[0] for one in found.contenders] == ["onnxruntime", "openvino"]
    assert all(one.timing is not None and not one.note for one in found.contenders)
    assert "seeded" in found.workload


def test_one_exported_file_is_named_as_export_prints_it(folder: Path, exported: Path) -> None:
    file = exported / recalled(exported)["onnx"].artifact.path
    ((name, one),) = profile.opened(str(file), given()).items()
    assert (name, one.contender.artifact.path, one.model.folder) == (str(file), file, folder / "bert")
    ((name, one),) = profile.opened(str(folder / "distil"), given()).items()
    assert one.contender.artifact.path == folder / "distil", "a network's folder stays one, whatever lies beside it"


def test_what_was_exported_before_is_remembered(folder: Path, exported: Path) -> None:
    export_alone(str(folder / "distil"), exported, "cpu", ["onnx-int8"], given())
    found = recalled(exported)
    assert sorted(found) == ["onnx", "onnx-int8", "openvino"]
    assert found["onnx-int8"].network == str(folder / "distil")


def test_what_does_not_belong_there_is_refused(exported: Path, tmp_path: Path) -> None:
    (exported / "else.onnx").write_bytes(b"a graph")
    with pytest.raises(SessionError, match=r"else\.onnx is none of the files that"):
        profiled(exported / "else.onnx")
    for change, error, said in (
        ({"artifact": {"opened_by": "subprocess.getoutput"}}, TrustError, "Python's own"),
        ({"artifact": {"path": "../../etc"}}, TrustError, "no file inside it"),
        ({"task": {"use": "os.system"}}, TrustError, "Python's own"),
        ({"session": 3}, SessionError, "was not written by kd2deploy"),
        ({"artifact": {"sha256": 3}}, SessionError, "was not written by kd2deploy"),
        ({"artifact": {"details": []}}, SessionError, "was not written by kd2deploy"),
    ):
        record = json.loads((exported / EXPORTED).read_text())
        one = record["variants"]["onnx"]
        one = {**one, **{k: {**one[k], **v} if isinstance(v, dict) and k != "task" else v for k, v in change.items()}}
        (tmp_path / EXPORTED).write_text(json.dumps({**record, "variants": {"onnx": one}}))
        with pytest.raises(error, match=said):
            profiled(tmp_path)


def test_speech_is_told_by_the_second_of_audio_and_as_a_real_time_factor(tmp_path: Path) -> None:
    places = [save_speech(tmp_path / name, seed=seed) for seed, name in enumerate(("one", "other"))]
    found = profile.profile_alone([str(place) for place in places], "cpu", Given("speech_ctc", {}, None), None)
    assert found.task is not None
    assert (found.task.unit_of_size, found.task.unit_lasts_ms) == ("second of audio", 1000.0)
    for one in found.contenders:
        assert one.timing is not None
        assert one.timing.per_unit is not None
        assert one.timing.per_unit.value is not None
    page = render_markdown(found)
    assert "Real-time factor" in page
    assert "judged by" not in page
