"""A pack made on one machine is built, measured and judged by its own finish.py, elsewhere, without this repository."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipes.small_run import recipe

from kd2deploy.core import Target
from kd2deploy.errors import ConvertError, RecipeError, RunError, SessionError
from kd2deploy.pack import (
    Network,
    device_is_here,
    from_graphs,
    packed_from_graphs,
    read_pack,
    read_rows,
    split_steps,
    write_pack,
    write_rows,
)
from kd2deploy.pipeline import compress, described, train_all
from kd2deploy.progress import Silent
from kd2deploy.recipe import Recipe
from kd2deploy.report import Report
from kd2deploy.resolve import load_target
from kd2deploy.run import Run
from kd2deploy.stages.job import Job
from kd2deploy.stages.prepare import prepare
from kd2deploy.stages.student import start
from kd2deploy.stages.teacher import teach

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained student and its teacher, packed for one variant of a processor."""
    folder = tmp_path_factory.mktemp("pack")
    parsed = Recipe.parse(recipe(folder, variants=["onnx-int8"], control=False))
    (target,) = parsed.resolved_targets().values()
    with Run(folder / "run").locked() as run:
        task, splits, about = prepare(parsed)
        job = Job(parsed, run, Silent(), splits, task, about)
        teacher = teach(job).model
        trainings = train_all(job, start(job, teacher, parsed.student.shrink).model, teacher)
        networks = [
            Network("teacher", 0, teacher),
            *(Network("student", one.seed, one.model) for one in trainings.students),
            *(Network("control", one.seed, one.model) for one in trainings.controls),
        ]
        facts = replace(described(job, target, None), command="kd2deploy export")
        return write_pack(job, networks, trainings.chosen.seed, target, facts, folder / "pack")


def test_finish_builds_measures_judges_and_bundles_elsewhere(pack: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "pack"
    shutil.copytree(pack, moved)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "finish.py", "out"], cwd=moved, capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode in (0, 3), done.stderr[-2000:]
    report = Report.read(moved / "out" / "report.json")
    assert report.verdict is not None
    assert report.verdict.outcome in ("PASS", "INCONCLUSIVE")
    assert report.command == "kd2deploy export; finish.py"
    roles = {contender.role for contender in report.contenders}
    assert roles >= {"teacher", "teacher_same_runtime", "student", "variant"}
    assert (moved / "out" / "report.html").stat().st_size > 1000
    assert (moved / "out" / "bundle" / "SHA256SUMS").is_file()
    packed = {entry["artifact"]["sha256"] for entry in json.loads((moved / "graphs" / "index.json").read_text())}
    assert report.deployed is not None
    assert report.deployed.sha256 in packed, "what is judged is the graph that was packed, to the byte"


def test_a_pack_holds_every_graph_of_student_and_teacher(pack: Path) -> None:
    index = json.loads((pack / "graphs" / "index.json").read_text())
    read = read_pack(pack)
    student = next(one.model for one in read.of("student") if one.seed == read.chosen_seed)
    for model in (student, read.teacher):
        made = [[step["use"] for step in entry["steps"]] for entry in index if entry["network"] == model.sha256]
        assert made == [["onnx_from_torch", "int8_from_onnx"]]
    assert len(read.splits.eval) == 120
    assert read.splits.validation
    assert {one.role for one in read.networks} == {"teacher", "student"}


def test_a_changed_pack_is_refused(pack: Path, tmp_path: Path) -> None:
    moved = tmp_path / "pack"
    shutil.copytree(pack, moved)
    rows = moved / "rows" / "eval" / "rows.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(SessionError, match=r"rows.jsonl was changed"):
        read_pack(moved)
    with pytest.raises(RunError, match="is not a pack"):
        read_pack(tmp_path)


def test_a_pack_is_written_into_an_empty_folder(pack: Path) -> None:
    with pytest.raises(ConvertError, match="is not empty"):
        write_pack(None, [], 0, None, None, pack)  # type: ignore[arg-type]


def test_a_graph_that_was_not_packed_is_an_error(pack: Path, tmp_path: Path) -> None:
    read = read_pack(pack)
    given: dict[str, Any] = {"graphs": str(pack / "graphs"), "steps": [{"use": "onnx_from_torch", "opset": 17}]}
    with pytest.raises(ConvertError, match="the pack holds no graph made by onnx_from_torch"):
        packed_from_graphs(read.teacher.artifact, read.task, read.target, tmp_path, [], **given)


def test_steps_are_packed_up_to_the_first_that_needs_the_device() -> None:
    target = load_target("h100")
    before, after = split_steps(target.variants["tensorrt-int8"])
    assert [step["use"] for step in before] == ["onnx_from_torch", "int8_from_onnx"]
    assert [step["use"] for step in after] == ["trt_from_onnx"]
    assert split_steps(target.variants["eager-fp16"]) == ((), ())
    read = from_graphs(target, Path("graphs"))
    assert [step["use"] for step in read.variants["tensorrt-fp16"].steps] == [
        "kd2deploy.pack.packed_from_graphs",
        "trt_from_onnx",
    ]
    assert read.variants["eager-fp16"].steps == ()


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"picture")
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    rows: list[dict[str, Any]] = [
        {"text": "a.png", "label": "x", "index": np.int64(3)},
        {"image": str(picture), "label": None},
        {"image": pixels, "label": 0.5},
    ]
    write_rows(rows, tmp_path / "rows")
    picture.unlink()
    text, path, array = read_rows(tmp_path / "rows")
    assert text == {"text": "a.png", "label": "x", "index": 3}
    assert Path(path["image"]).read_bytes() == b"picture"
    np.testing.assert_array_equal(array["image"], pixels)


def test_a_processor_is_always_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device_is_here(Target("cpu", "", "cpu", {}))
    assert not device_is_here(Target("h100", "", "cuda", {}))


def test_compress_for_a_device_that_is_not_here_trains_and_packs(tmp_path: Path) -> None:
    parsed = Recipe.parse(recipe(tmp_path, targets=["h100"], variants=["ort-fp32"], control=False))
    if device_is_here(parsed.resolved_targets()["h100"]):
        pytest.skip("this machine has a CUDA device, so nothing is packed")
    (result,) = compress(parsed, tmp_path / "run")
    assert result.outcome is None
    assert result.pack is not None
    assert (result.pack / "finish.py").is_file()
    assert read_pack(result.pack).target.name == "h100"


def test_a_plan_for_a_device_that_is_not_here_is_refused_before_training(tmp_path: Path) -> None:
    parsed = Recipe.parse(recipe(tmp_path, targets=["h100"], variants=["ort-fp32"], student={"plan": {}}))
    if device_is_here(parsed.resolved_targets()["h100"]):
        pytest.skip("this machine has a CUDA device, so the plan can be made")
    with pytest.raises(RecipeError, match="no such device is here"):
        compress(parsed, tmp_path / "run")
