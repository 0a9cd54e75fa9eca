"""A pack made on one machine is built, measured and judged by its own finish.py, elsewhere, without this repository."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from recipes.small_run import recipe
from typer.testing import CliRunner

from kd2deploy.cli import app
from kd2deploy.core import Target, Variant
from kd2deploy.core.rows import read_rows, write_rows
from kd2deploy.core.watcher import Silent
from kd2deploy.errors import ConvertError, RecipeError, RunError, SessionError, TrustError
from kd2deploy.exporters.bundle import write_sums
from kd2deploy.flows.compress import compress
from kd2deploy.flows.export import Wanted, export
from kd2deploy.flows.finish import finish, trainings_of
from kd2deploy.flows.pack import (
    device_is_here,
    graph_places,
    read_pack,
    requirements,
    split_steps,
    write_pack,
)
from kd2deploy.recipe import Recipe
from kd2deploy.recipe.resolve import known, load_target, locate
from kd2deploy.report import Report
from kd2deploy.run import Run
from kd2deploy.stages.convert import place_of
from kd2deploy.stages.export import export_one
from kd2deploy.stages.job import Job

pytestmark = pytest.mark.recipe
without_device = pytest.mark.skipif(device_is_here(load_target("h100")), reason="this machine has a CUDA device")


def wanted(out: Path, target: str = "h100", variants: tuple[str, ...] = ("ort-fp32",), **given: Any) -> Wanted:
    unset: dict[str, Any] = {"teacher": None, "train": None, "data": None, "columns": {}, "gates": {}}
    return Wanted(out, target, list(variants), task="text_classification", **{**unset, **given})


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine has the device of any target."""
    monkeypatch.setattr("kd2deploy.flows.export.device_is_here", lambda target: False)
    monkeypatch.setattr("kd2deploy.flows.files.device_is_here", lambda target: False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, a student and its control, trained."""
    folder = tmp_path_factory.mktemp("trained")
    compress(Recipe.parse(recipe(folder, variants=["onnx-int8"])), folder / "run", until="distill")
    return folder / "run"


@pytest.fixture(scope="module")
def pack(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run, packed for one variant of a processor that is said not to be here."""
    out = tmp_path_factory.mktemp("packed") / "pack"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kd2deploy.flows.export.device_is_here", lambda target: False)
        lines = export(None, run, wanted(out, "cpu", ("onnx-int8",), gates={"max_drop": 0.4}), Silent())
    assert lines[0].startswith(f"onnx-int8: {out}/graphs/int8_from_onnx-")
    assert lines[-1].startswith(f"pack: {out} (no cpu is here")
    return out


@pytest.fixture(scope="module")
def finished(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack moved elsewhere and finished there, in `out`, by its own program."""
    moved = tmp_path_factory.mktemp("elsewhere") / "pack"
    shutil.copytree(pack, moved)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "finish.py", "out"], cwd=moved, capture_output=True, text=True, timeout=1200, env=environment
    )
    assert done.returncode in (0, 3), done.stderr[-2000:]
    return moved


def test_finish_builds_measures_judges_and_bundles_elsewhere(finished: Path) -> None:
    report = Report.read(finished / "out" / "report.json")
    assert report.verdict is not None
    assert report.verdict.outcome in ("PASS", "INCONCLUSIVE")
    assert report.command.endswith("; finish.py")
    assert [stage.name for stage in report.stages][:2] == ["teacher", "student"]
    roles = {contender.role for contender in report.contenders}
    assert roles >= {"teacher", "teacher_same_runtime", "student", "variant", "control"}
    assert (finished / "out" / "report.html").stat().st_size > 1000
    assert (finished / "out" / "bundle" / "SHA256SUMS").is_file()
    packed = {json.loads(file.read_text())["sha256"] for file in finished.glob("graphs/*/artifact.json")}
    assert report.deployed is not None
    assert report.deployed.sha256 in packed, "what is judged is the graph that was packed, to the byte"


def test_the_report_is_there_where_the_bundle_is_refused(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> Path:
        raise ConvertError("the bundle's file answers otherwise")

    monkeypatch.setattr("kd2deploy.flows.compress.bundle", refused)
    report = finished / "out" / "report.json"
    report.unlink()
    with pytest.raises(ConvertError, match="answers otherwise"):
        finish(finished, finished / "out")
    assert Report.read(report).verdict is not None


def test_a_pack_holds_nothing_that_was_added_but_its_result(pack: Path, tmp_path: Path) -> None:
    moved = tmp_path / "pack"
    shutil.copytree(pack, moved)
    for place in ("result", "out"):
        (moved / place).mkdir()
        (moved / place / "file").write_text("made on the device")
    read_pack(moved, out=moved / "out" / "deeper")
    with pytest.raises(SessionError, match="is not in SHA256SUMS"):
        read_pack(moved)


def test_a_forged_pack_runs_nothing(pack: Path, tmp_path: Path) -> None:
    moved = tmp_path / "pack"
    shutil.copytree(pack, moved)
    found = json.loads((moved / "pack.json").read_text())
    sentinel = tmp_path / "it-ran"
    for change in (
        {"task": {"use": "subprocess.getoutput", "cmd": f"touch {sentinel}"}},
        {"target": {**found["target"], "variants": {"a": {"steps": [{"use": "os.system", "command": "x"}]}}}},
    ):
        (moved / "pack.json").write_text(json.dumps({**found, **change}))
        write_sums(moved)
        with pytest.raises(TrustError, match="Python's own"):
            finish(moved, tmp_path / "out")
    (moved / "pack.json").write_text(json.dumps({**found, "networks": [{**found["networks"][0], "folder": "../.."}]}))
    write_sums(moved)
    with pytest.raises(TrustError, match="no file inside it"):
        finish(moved, tmp_path / "out")
    assert not sentinel.exists()


def test_a_pack_holds_every_graph_of_student_and_teacher(pack: Path) -> None:
    read = read_pack(pack)
    variant = load_target("cpu").variants["onnx-int8"]
    assert read.target.variants == {"onnx-int8": variant}, "the steps stay, so that the search can change them"
    assert read.target.gates.max_drop == 0.4
    student = next(one.model for one in read.of("student") if one.seed == read.chosen_seed)
    for role, model in (("student", student), ("teacher", read.begun_with.baseline)):
        for at in range(1, len(variant.steps) + 1):
            assert (place_of(read.graphs, model.sha256, variant.steps[:at]) / "artifact.json").is_file()
        assert (pack / graph_places(pack)["onnx-int8"][role]).is_file()
    assert len(read.splits.eval) == 120
    assert read.splits.validation
    assert {one.role for one in read.networks} == {"teacher", "student", "control"}
    assert [one.seed for one in trainings_of(read).controls] == [read.chosen_seed]


def test_no_packed_graph_is_made_again(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made_again(*_: object) -> None:
        raise AssertionError("a conversion that the pack brought was made again")

    monkeypatch.setattr("kd2deploy.stages.convert.bind", made_again)
    read = read_pack(pack)
    with Run(tmp_path).locked() as run:
        job = Job(read.recipe, run, Silent(), read.splits, read.task, read.about, read.graphs)
        one = export_one(job, read.begun_with.baseline, read.target, "onnx-int8", "export-teacher")
    assert one.artifact.verify().path.is_relative_to(tmp_path)
    assert [each.made_by for each in one.chain] == ["onnx_from_torch", "int8_from_onnx"]


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


def test_steps_are_packed_up_to_the_first_that_needs_the_device() -> None:
    target = load_target("h100")
    before, after = split_steps(target.variants["tensorrt-int8"])
    assert [step["use"] for step in before] == ["onnx_from_torch", "int8_from_onnx"]
    assert [step["use"] for step in after] == ["trt_from_onnx"]
    assert split_steps(target.variants["eager-fp16"]) == ((), ())


OWN = """\
name: tuned
about: a device that is not here
device: cpu
variants:
  tuned:
    steps: [{use: onnx_from_torch}, {use: own_converters.tuned_from_onnx}, {use: int8_from_onnx, mode: dynamic}]
"""


def test_a_users_converter_for_the_device_is_left_to_the_device(run: Path, tmp_path: Path, absent: None) -> None:
    target, out = tmp_path / "tuned.yaml", tmp_path / "pack"
    target.write_text(OWN)
    lines = export(None, run, wanted(out, str(target), ("tuned",)), Silent())
    assert lines[0].startswith(f"tuned: {out}/graphs/onnx_from_torch-")
    made = {json.loads(file.read_text())["made_by"] for file in out.glob("graphs/*/artifact.json")}
    assert made == {"onnx_from_torch"}, "neither the tuned file nor what is made of it"
    read = read_pack(out, trust=["own_converters"])
    with Run(tmp_path / "there").locked() as there:
        job = Job(read.recipe, there, Silent(), read.splits, read.task, read.about, read.graphs)
        one = export_one(job, read.begun_with.baseline, read.target, "tuned", "export-teacher")
    assert [each.made_by for each in one.chain] == ["onnx_from_torch", "tuned_from_onnx", "int8_from_onnx"]


# what is packed ---------------------------------------------------------------------------------------------


@without_device
def test_the_command_line_packs_a_finished_run(run: Path, tmp_path: Path) -> None:
    arguments = ["export", "--from", str(run), "--target", "h100", "--variant", "ort-fp32", "--variant", "eager-fp16"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "pack"), "--speedup", "2"])
    assert done.exit_code == 0, done.output
    read = read_pack(tmp_path / "pack")
    assert (read.target.name, list(read.target.variants)) == ("h100", ["ort-fp32", "eager-fp16"])
    assert read.target.gates.min_speedup == 2
    assert read.target.gates.max_drop == 0.5, "the run's own limits hold where none is given"
    assert Report.read(run / "report.json").target == "cpu", "the run itself is as it was"


def test_a_run_that_was_not_trained_with_this_recipe_is_refused(run: Path, tmp_path: Path, absent: None) -> None:
    report = Report.read(run / "report.json")
    other = {**yaml.safe_load(report.recipe), "seeds": [7]}
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    replace(report, recipe=yaml.safe_dump(other)).write(changed / "report.json")
    with pytest.raises(RunError, match="has no finished stage 'teacher'"):
        export(None, changed, wanted(tmp_path / "pack"), Silent())
    with pytest.raises(RunError, match="neither a bundle nor a run"):
        export(None, changed / "stages", wanted(tmp_path / "pack"), Silent())


def test_a_bundle_is_packed_with_the_teacher_that_is_named(finished: Path, tmp_path: Path, absent: None) -> None:
    bundle = finished / "out" / "bundle"
    *graphs, last = export(None, bundle, wanted(tmp_path / "alone"), Silent())
    assert last == "no pack to judge on the device: that needs --teacher too"
    assert graphs[0].startswith("ort-fp32: ")
    export(None, bundle, wanted(tmp_path / "pack", teacher=str(finished / "networks" / "teacher")), Silent())
    read = read_pack(tmp_path / "pack")
    assert trainings_of(read).controls == ()
    assert read.begun_with.baseline.sha256 == read_pack(finished, out=finished / "out").begun_with.baseline.sha256
    assert not (tmp_path / "pack" / "networks" / "student-0" / "bundle.json").exists()
    assert read.facts.recipe


def test_a_network_is_packed_where_teacher_and_data_are_named(
    run: Path, finished: Path, tmp_path: Path, absent: None
) -> None:
    student, teacher = (str(finished / "networks" / name) for name in ("student-0", "teacher"))
    data = {name: str(run.parent / f"{file}.csv") for name, file in (("train", "train"), ("data", "eval"))}
    lines = export(student, None, wanted(tmp_path / "alone", teacher=teacher), Silent())
    assert lines[-1] == "no pack to judge on the device: that needs --train, --data too"
    export(student, None, wanted(tmp_path / "pack", teacher=teacher, gates={"min_speedup": 2.0}, **data), Silent())
    read = read_pack(tmp_path / "pack")
    assert read.target.gates.min_speedup == 2.0
    assert read.facts.recipe == "", "no recipe made this student"
    assert read.facts.distillation is not None
    assert "not known" in read.facts.distillation.method
    with pytest.raises(RecipeError, match="give a network, or --from"):
        export(student, finished, wanted(tmp_path / "both"), Silent())


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"picture")
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    rows: list[dict[str, Any]] = [
        {"text": "a.png", "label": "x", "index": np.int64(3)},
        {"image": picture, "label": None},
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


TURING = """
name: turing
about: ""
device: cuda
compute_capability: "7.5"
variants:
  fp16:
    requires: tensorrt
    steps: [{use: onnx_from_torch, opset: 20}, {use: trt_from_onnx, precision: fp16}]
  bf16:
    requires: tensorrt
    steps: [{use: onnx_from_torch, opset: 20}, {use: trt_from_onnx, precision: bf16}]
"""


@without_device
def test_compress_for_a_device_that_is_not_here_trains_and_packs(tmp_path: Path) -> None:
    target = tmp_path / "turing.yaml"
    target.write_text(TURING)
    parsed = Recipe.parse(recipe(tmp_path, targets=[str(target)], variants=["fp16", "bf16"], control=False))
    (result,) = compress(parsed, tmp_path / "run")
    assert result.outcome is None
    assert result.pack is not None
    assert (result.pack / "finish.py").is_file()
    read = read_pack(result.pack)
    assert list(read.target.variants) == ["fp16"]
    assert "7.5 has no bf16" in read.facts.left_out["bf16"]
    shapes = json.loads((result.pack / "pack.json").read_text())["shapes"]
    assert shapes["batch_size"] == [1, 1, 32]
    smallest, usual, largest = shapes["sequence_length"]
    assert (smallest, largest) == (1, 16)
    assert 4 <= usual <= 14


@without_device
def test_what_no_variant_can_deploy_is_refused_before_training(tmp_path: Path) -> None:
    target = tmp_path / "turing.yaml"
    target.write_text(TURING)
    parsed = Recipe.parse(recipe(tmp_path, targets=[str(target)], variants=["bf16"]))
    with pytest.raises(RecipeError, match=r"target turing: variants.bf16: .* 7.5 has no bf16 .*; use fp16"):
        compress(parsed, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@without_device
def test_a_plan_for_a_device_that_is_not_here_is_refused_before_training(tmp_path: Path) -> None:
    parsed = Recipe.parse(recipe(tmp_path, targets=["h100"], variants=["ort-fp32"], student={"plan": {}}))
    with pytest.raises(RecipeError, match="no such device is here"):
        compress(parsed, tmp_path / "run")


# what the device must install -------------------------------------------------------------------------------

BROUGHT = {"pynvml": "nvidia-ml-py", "tensorrt": "tensorrt", "onnxruntime": "onnxruntime-gpu"}
"""Modules whose package is not the one that is installed here."""
OTHER_TARGETS = {
    "ai_edge_litert",
    "ai_edge_quantizer",
    "executorch",
    "litert_converter",
    "litert_torch",
    "nncf",
    "openvino",
    "openvino_telemetry",
    "tensorrt_rtx",
    "torchao",
}
"""Modules that only the variants of another target import."""
ELSEWHERE = {"wandb", "mlflow", "peft", "model_signing", "diffusers", "timm", "optuna", "ray"}
"""Modules of extras for what a pack does not do: training under a tracker, merging an adapter, signing a bundle,
varying pictures, searching settings, handing stages to a cluster. Each is asked for inside a function, which names the
extra where it is missing; so is timm, for its networks."""


def test_requirements_can_be_installed_on_the_device() -> None:
    lines = requirements(load_target("h100"))
    found = {one.name: one.specifier for one in map(Requirement, lines)}
    assert "+" not in "".join(lines)
    assert "kd2deploy" not in found
    assert found["torch"].contains("2.99"), "a device has a build of its own"
    assert found["onnxruntime-gpu"].contains("1.99")
    assert "onnxruntime" not in found
    assert found["tensorrt"].contains("10.13.2")
    assert str(found["pydantic"]) == f"=={metadata.version('pydantic')}"
    only_engines = Target("orin", "", "cuda", {"fp16": Variant(requires="tensorrt")})
    names = {Requirement(line).name for line in requirements(only_engines)}
    assert {"onnxruntime", "tensorrt", "nvidia-ml-py"} <= names
    on_cpu, of_timm = (
        {Requirement(line).name for line in requirements(load_target("cpu"), extras)} for extras in ((), ("timm",))
    )
    assert "nvidia-ml-py" not in on_cpu
    assert of_timm - on_cpu == {"timm"}


def test_requirements_cover_whatever_the_program_imports(pack: Path) -> None:
    modules = {name for file in (pack / "lib").rglob("*.py") for name in imported(file)}
    modules -= {*sys.stdlib_module_names, "kd2deploy", *OTHER_TARGETS, *ELSEWHERE}
    extras = {locate("task", name).requires for name in known("task")}
    brought = closure({Requirement(line).name for line in requirements(load_target("h100"), extras)})
    distributions = metadata.packages_distributions()
    missing = {
        module
        for module in modules
        if not {normal(name) for name in [BROUGHT.get(module, ""), *distributions.get(module, [])]} & brought
    }
    assert not missing
    assert len(modules) > 15


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def closure(names: set[str]) -> set[str]:
    """The packages and all that they bring, as far as they are installed here."""
    found: set[str] = set()
    waiting = {normal(name) for name in names}
    while waiting:
        name = waiting.pop()
        found.add(name)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        waiting |= {normal(Requirement(line).name) for line in lines if "extra" not in line} - found
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
