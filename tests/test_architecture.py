"""Who may import whom, read off the files themselves."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kd2deploy"

ALLOWED = {
    "core": {"core", "errors"},
    "methods": {"core", "errors", "methods"},
    "exporters": {"core", "errors", "exporters"},
    "measure": {"core", "errors", "measure"},
    "networks": {"core", "errors", "networks"},
    "tasks": {"core", "errors", "networks", "tasks"},
    "data": {"core", "errors", "data"},
    "train": {"core", "errors", "networks", "train", "tasks"},
    "report": {"core", "errors", "report"},
    "recipe": {"core", "errors", "recipe", "data", "train"},
    "stages": {
        "core",
        "errors",
        "run",
        "stages",
        "recipe",
        "methods",
        "networks",
        "tasks",
        "data",
        "train",
        "exporters",
        "measure",
        "report",
    },
}
COMMAND_LINE = {"cli"}
"""What nothing but itself imports."""
RUNTIMES = {"onnx", "onnxruntime", "onnxscript", "openvino", "nncf", "tensorrt", "tensorrt_rtx", "onnx_ir"}
OUTSIDE_RUNTIMES = {"kd2deploy/cli/doctor.py"}
TRANSFORMERS = ("networks", "train")


def files(folder: str = "") -> list[Path]:
    """The package's files under a folder of it, `exporters` among them: a link, which rglob does not follow."""
    if folder:
        return sorted((PACKAGE / folder).rglob("*.py"))
    return sorted([*PACKAGE.rglob("*.py"), *(PACKAGE / "exporters").rglob("*.py")])


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports(file: Path, everywhere: bool = True) -> set[str]:
    """Dotted names of what a file imports, and of what it takes out of them; only at its top unless `everywhere`."""
    package = file.relative_to(ROOT).parent.parts if file.is_relative_to(PACKAGE) else ()
    return imported(file.read_text(), package, everywhere)


def imported(text: str, package: tuple[str, ...], everywhere: bool = True) -> set[str]:
    tree = ast.parse(text)
    found = set()
    for node in ast.walk(tree) if everywhere else at_the_top(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            around = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*around, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{name.name}" for name in node.names}
    return found


def at_the_top(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs when the file is imported: not inside functions, nor for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from at_the_top(node)


def own(file: Path) -> set[str]:
    """The parts of the package that a file imports."""
    return {name.split(".")[1] for name in imports(file) if name.startswith("kd2deploy.")}


def tops(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def calls(node: ast.AST, name: str) -> Iterator[ast.Call]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == name:
            yield call


def test_a_stage_that_times_says_that_it_needs_the_target_alone() -> None:
    timing, alone = set(), set()
    for file in files("stages"):
        tree = ast.parse(file.read_text())
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        timing |= {(file.stem, one.name) for one in functions if any([*calls(one, "race"), *calls(one, "fastest_of")])}
        for stage in calls(tree, "Stage"):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in stage.keywords}
            if given.get("needs") == "'target'":
                alone.add((file.stem, given["work"].rpartition(".")[2].strip("'\"")))
    assert timing == alone == {("plan", "work"), ("export", "timed_and_chosen"), ("measure", "work")}


@pytest.mark.parametrize("folder", ALLOWED)
def test_packages_import_only_what_the_architecture_allows(folder: str) -> None:
    assert files(folder)
    for file in files(folder):
        assert own(file) <= ALLOWED[folder], f"{file} imports {own(file) - ALLOWED[folder]}"


def test_nothing_leans_on_the_command_line() -> None:
    for file in files():
        if file.relative_to(PACKAGE).parts[0] not in {*COMMAND_LINE, "__main__.py"}:
            assert not own(file) & COMMAND_LINE, file


@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("import kd2deploy.train.engine", "kd2deploy.train.engine"),
        ("from kd2deploy import train", "kd2deploy.train"),
        ("from ..train import engine", "kd2deploy.train"),
        ("from . import tables", "kd2deploy.report.tables"),
        ("def later():\n    from ..train.engine import distill", "kd2deploy.train.engine"),
    ],
)
def test_every_way_to_write_an_import_is_seen(text: str, module: str) -> None:
    assert module in imported(text, ("kd2deploy", "report"))


def test_what_is_imported_later_is_told_from_what_is_imported_at_once() -> None:
    text = "if TYPE_CHECKING:\n import onnx\ndef later():\n import onnx\nclass A:\n import numpy\n"
    assert imported(text, (), everywhere=False) == {"numpy"}
    assert any(file.parent.name == "exporters" for file in files())


def test_runtimes_are_imported_by_exporters_alone_and_there_inside_functions() -> None:
    for file in files():
        if "exporters" in file.parts:
            used = tops(imports(file, everywhere=False)) & RUNTIMES
        else:
            used = tops(imports(file)) & RUNTIMES if name_of(file) not in OUTSIDE_RUNTIMES else set()
        assert not used, f"{file} imports {used}"


def test_transformers_is_imported_where_networks_are_made_alone() -> None:
    for file in files():
        if not set(file.relative_to(PACKAGE).parts) & set(TRANSFORMERS):
            assert "transformers" not in tops(imports(file)), file


def test_a_private_module_is_imported_from_its_own_folder_alone() -> None:
    for file in files():
        home = file.resolve().parent
        for name in imports(file):
            parts = name.split(".")[1:]
            module = PACKAGE.joinpath(*parts).with_suffix(".py")
            if name.startswith("kd2deploy.") and parts[-1].startswith("_") and module.is_file():
                assert home.is_relative_to(module.resolve().parent), f"{file} imports {name}"


def test_the_root_folders_are_imported_through_the_package() -> None:
    for file in [*files(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        assert not tops(imports(file)) & {"exporters", "profiles"}, f"{file} imports a root folder by its bare name"


def test_methods_lean_on_each_other_without_circles() -> None:
    names = {file.stem: file for file in files("methods") if file.stem != "__init__"}
    leans = {
        name: {module.split(".")[2] for module in imports(file) if module.startswith("kd2deploy.methods.")}
        & set(names) - {name}
        for name, file in names.items()
    }
    tuple(TopologicalSorter(leans).static_order())  # raises CycleError


@pytest.mark.parametrize("module", ["kd2deploy", "kd2deploy.cli"])
def test_import_is_light(module: str) -> None:
    heavy = "torch", "transformers", "numpy", "onnx", "onnxruntime", "pydantic", "datasets"
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


WORDS = frozenset({"task_only", "logit", "hidden", "attention", "contrastive", "dist"})
"""Methods that are called as what every network has, or as the control."""


@pytest.mark.parametrize("folder", ["core", "train", "measure", "exporters", "report"])
def test_no_task_or_method_is_named_in_the_engine_room(folder: str) -> None:
    names = {
        file.stem for kind in ("methods", "tasks") for file in files(kind) if not file.stem.startswith("_")
    } - WORDS
    for file in files(folder):
        named = [name for name in names if name in file.read_text()]
        assert not named, f"{file} names {named}"


def test_no_task_is_asked_for_its_name_outside_its_file() -> None:
    """`if task.name == ...` is a branch that belongs into the task."""
    for file in files():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare):
                asked = [ast.unparse(side) for side in (node.left, *node.comparators)]
                assert not any(side.endswith("task.name") for side in asked), f"{file}:{node.lineno}"


MOST_PARAMETERS = 7
TOO_MANY = {
    "kd2deploy/data/prepare.py:prepare",
}
"""Functions that still take more. The list may only become shorter."""


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = function.args
    return [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs) if one.arg not in ("self", "cls")]


def is_written_by_people(file: Path, function: str) -> bool:
    """Whether the parameters are fields of a recipe or flags of a command: as many as a person may want to set."""
    folder = file.relative_to(PACKAGE).parts[0]
    return (
        folder == "cli"
        or (folder in ("data", "methods") and function == file.stem != "prepare")
        or (folder, function) == ("tasks", "__init__")
    )


def test_no_function_takes_more_than_seven_parameters() -> None:
    found = {
        f"{name_of(file)}:{node.name}"
        for file in files()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and len(parameters(node)) > MOST_PARAMETERS
        and not is_written_by_people(file, node.name)
    }
    assert found <= TOO_MANY, "group what belongs together into a value"
    assert found >= TOO_MANY, "these take fewer now: drop them from the list"


FIELDS = frozenset(
    {
        "image",
        "input_ids",
        "pixel_values",
        "attention_mask",
        "token_type_ids",
        "text",
        "text_pair",
        "pair",
        "max_length",
        "audio",
        "input_values",
        "input_features",
        "sampling_rate",
        "crowd",
        "pred_boxes",
    }
)
"""What one modality alone has: fields of its rows, inputs of its networks, arguments of its reader."""
HONEST = {
    "cli": "flags that are columns of a file",
    "data": "each source says which columns it has",
    "report": "a plot's own words",
    "flows/given.py": "the flag --max-length",
    "flows/export.py": "the flag --max-length",
    "exporters/litert/sizes.py": "the mask along which a request is filled up to a size that the file has",
    "exporters/onnx/attention.py": "the mask that the runtime's own operator reads",
    "methods/_adversarial_text.py": "text that is written to be read",
    "methods/_mixing.py": "masks are kept as they are where inputs are mixed",
    "train/generator.py": "a language model reads tokens",
}
"""Files and folders that may name them, and why."""
KEEPS_ROWS = ("data/prepare.py",)
"""In a folder that may, and yet they may not."""


def test_no_field_of_one_modality_is_named_outside_the_tasks() -> None:
    named = set()
    for file in files():
        place = file.relative_to(PACKAGE).as_posix()
        if place.startswith(("tasks/", "networks/")) or place in KEEPS_ROWS:
            continue
        words = {
            node.value if isinstance(node, ast.Constant) else node.attr
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Attribute) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
        }
        if words & FIELDS:
            named |= {excused for excused in (place, place.split("/")[0]) if excused in HONEST} or {f"not {place}"}
    assert named == set(HONEST)


@pytest.mark.parametrize("place", KEEPS_ROWS)
def test_what_checks_and_keeps_rows_knows_no_field(place: str) -> None:
    file = PACKAGE / place
    constants = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
    assert not constants & FIELDS, file
