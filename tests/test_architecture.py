"""Who may import whom, read off the files themselves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kd2deploy"

ALLOWED = {
    "core": {"core", "errors"},
    "methods": {"core", "errors", "methods"},
    "exporters": {"core", "errors", "exporters"},
    "measure": {"core", "errors", "measure"},
    "tasks": {"core", "errors", "tasks"},
    "data": {"core", "errors", "data"},
    "train": {"core", "errors", "train", "tasks"},
    "report": {"core", "errors", "report"},
}
RUNTIMES = {"onnx", "onnxruntime", "onnxscript", "openvino", "tensorrt", "tensorrt_rtx", "onnx_ir"}
OUTSIDE_RUNTIMES = {"kd2deploy/doctor.py"}
TRANSFORMERS = ("tasks", "train")


def files(folder: str) -> list[Path]:
    return sorted((PACKAGE / folder).rglob("*.py"))


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_packages_import_only_what_the_architecture_allows(folder: str) -> None:
    assert files(folder)
    for file in files(folder):
        own = {name.split(".")[1] for name in imports(file) if name.startswith("kd2deploy.")}
        assert own <= ALLOWED[folder], f"{file} imports {own - ALLOWED[folder]}"


def test_runtimes_are_imported_by_exporters_alone() -> None:
    for file in PACKAGE.rglob("*.py"):
        name = file.relative_to(ROOT).as_posix()
        if "exporters" not in file.parts and name not in OUTSIDE_RUNTIMES:
            used = {module.split(".")[0] for module in imports(file)} & RUNTIMES
            assert not used, f"{name} imports {used}"


def test_transformers_is_imported_where_networks_are_made_alone() -> None:
    for file in PACKAGE.rglob("*.py"):
        if not set(file.relative_to(PACKAGE).parts) & set(TRANSFORMERS):
            assert not {name for name in imports(file) if name.split(".")[0] == "transformers"}, file


def test_the_root_folders_are_imported_through_the_package() -> None:
    for file in [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        top = {name.split(".")[0] for name in imports(file)}
        assert not top & {"exporters", "profiles"}, f"{file} imports a root folder by its bare name"


@pytest.mark.parametrize("module", ["kd2deploy", "kd2deploy.cli"])
def test_import_is_light(module: str) -> None:
    heavy = "torch", "transformers", "numpy", "onnx", "onnxruntime", "pydantic", "datasets"
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_task_or_method_is_named_in_the_engine_room() -> None:
    names = {file.stem for file in files("methods") if not file.stem.startswith("_")} - {
        "task_only",
        "logit",
        "hidden",
        "attention",
        "contrastive",
        "dist",
    }
    for folder in ("core", "train", "measure", "report"):
        for file in files(folder):
            text = file.read_text()
            named = [name for name in names if name in text]
            assert not named, f"{file} names {named}"
