"""Names in files: ours, trusted, or refused before anything of them is imported or called."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from kd2deploy import usable_as
from kd2deploy.cli import app
from kd2deploy.core import Artifact, Method, build_task, trust
from kd2deploy.core.trust import _named
from kd2deploy.data.tables import Tables
from kd2deploy.errors import ModelError, RecipeError, TrustError
from kd2deploy.recipe import OUR_PACKAGES, Recipe
from kd2deploy.recipe.resolve import bind, misfit


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    before = set(_named)
    yield
    _named.clear()
    _named.update(before)


def recipe(**changes: object) -> dict[str, object]:
    return {
        "task": "text_classification",
        "data": {"use": "digits"},
        "teacher": {"from": "nowhere"},
        "student": {"shrink": {"layers": 1}},
        "distill": [{"method": "logit", "epochs": 1}],
        **changes,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"use": "shutil.rmtree", "path": "PRECIOUS"}},
        {"data": {"use": "os.system", "command": "rm -r PRECIOUS"}},
        {"data": {"use": "subprocess.Popen", "args": "rm -r PRECIOUS", "shell": True}},
        {"distill": [{"method": {"use": "shutil.rmtree", "path": "PRECIOUS"}, "epochs": 1}]},
        {"task": {"use": "shutil.rmtree", "path": "PRECIOUS"}},
        {"data": {"use": "dangerous.removed", "path": "PRECIOUS"}},
        {"data": {"use": "dangerous.unmarked", "path": "PRECIOUS"}},
        {"distill": [{"method": {"use": "dangerous.unmarked", "path": "PRECIOUS"}, "epochs": 1}]},
        {"distill": [{"method": {"use": "dangerous.tables", "path": "PRECIOUS"}, "epochs": 1}]},
        {"task": {"use": "dangerous.Callable", "path": "PRECIOUS"}},
        {"targets": ["TARGET"]},
    ],
)
def test_a_dry_run_calls_nothing_that_is_not_what_it_is_used_as(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "dangerous.py").write_text(
        "import shutil\nfrom shutil import rmtree as removed\nfrom kd2deploy.data.tables import Tables\n"
        "def unmarked(*a, path='', **k): shutil.rmtree(path)\n"
        "def tables(path: str) -> Tables: shutil.rmtree(path)\n"
        "class Callable:\n    def __init__(self, path=''): shutil.rmtree(path)\n"
    )
    target = tmp_path / "target.yaml"
    step = {"use": "dangerous.unmarked", "path": str(precious)}
    target.write_text(yaml.safe_dump({"name": "t", "about": "", "device": "cpu", "variants": {"a": {"steps": [step]}}}))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "dangerous", raising=False)
    file = tmp_path / "recipe.yaml"
    text = yaml.safe_dump(recipe(**changes)).replace("PRECIOUS", str(precious)).replace("TARGET", str(target))
    file.write_text(text)
    done = CliRunner().invoke(app, ["compress", str(file), "--dry-run"])
    assert done.exit_code == 2, done.output
    assert "fault" in done.stderr
    assert precious.is_dir()


def test_a_data_source_of_others_is_not_called_by_a_dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny_models import save_encoder

    save_encoder(tmp_path / "teacher", labels=["neg", "pos"])
    (tmp_path / "rows_of_theirs.py").write_text(
        "import pathlib\nfrom kd2deploy.data.tables import Tables\n"
        f"def rows() -> Tables:\n    pathlib.Path({str(tmp_path / 'called')!r}).write_text('')\n    raise OSError\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "recipe.yaml"
    given = recipe(data={"use": "rows_of_theirs.rows"}, teacher={"from": str(tmp_path / "teacher")}, variants=["onnx"])
    file.write_text(yaml.safe_dump(given))
    done = CliRunner().invoke(app, ["compress", str(file), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "a dry run does not call" in " ".join(done.output.split())
    assert not (tmp_path / "called").exists()


def of_no_kind() -> int:
    return 3


@usable_as("method")
def marked() -> object:
    return Method()


def test_what_a_thing_is_used_as_is_told_by_its_type_or_its_mark() -> None:
    def rows() -> Tables:
        raise AssertionError("nothing is called")

    def converter(source: Artifact, task: object, target: object, folder: Path, samples: object) -> Artifact:
        return source

    assert misfit("data", rows) == misfit("converter", converter) == misfit("method", marked) == ""
    assert "annotate it `-> Method`" in misfit("method", of_no_kind)
    assert "@kd2deploy.usable_as('data')" in misfit("data", converter)
    assert misfit("data", marked), "a mark is for one kind"
    assert "no task" in misfit("task", rows)
    assert misfit("method", len)
    with pytest.raises(ValueError, match="marked as data, method, converter or teacher"):
        usable_as("task")


def test_arguments_of_a_task_are_of_their_types() -> None:
    with pytest.raises(ModelError, match="labels"):
        build_task({"use": "text_classification", "labels": "neg"})
    with pytest.raises(ModelError, match="takes"):
        build_task({"use": "text_classification", "labels": ["a", "b"], "cmd": "ls"})
    with pytest.raises(TrustError, match="no task is called"):
        build_task({"use": "_folder"})
    with pytest.raises(TrustError):
        build_task({"use": None})


@pytest.mark.parametrize("name", ["subprocess.getoutput", "os", "builtins.exec", "a b", "", "../x", "a..b"])
def test_what_can_never_be_trusted(name: str) -> None:
    with pytest.raises(TrustError):
        trust(name)


def test_a_persons_own_name_may_be_named_by_their_files_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_parts.py").write_text("from kd2deploy.core import Method\ndef mine() -> Method: return Method()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "--trust my_parts.mine" in str(bind("method", "my_parts.mine", "x", as_data=True)[1][0])
    assert "my_parts" not in sys.modules
    assert bind("method", "my_parts.mine", "x")[1] == []
    assert bind("method", "my_parts.mine", "x", as_data=True)[1] == []


def test_our_packages_are_those_of_the_recipes_that_come_along() -> None:
    folder = Path(__file__).parents[2] / "kd2deploy" / "recipes"
    named = {
        word.rstrip(",}'\"")
        for file in folder.rglob("*.yaml")
        for line in file.read_text().splitlines()
        for word in (part.split()[0] for part in line.split("package:")[1:])
    }
    assert named == OUR_PACKAGES
    for file in folder.rglob("*.yaml"):
        Recipe.read(file, as_data=True)
    with pytest.raises(RecipeError, match="--trust another"):
        Recipe.parse(recipe(teacher={"from": "package:another"}), as_data=True)
