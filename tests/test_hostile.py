"""Bundles, packs and runs of an attacker: whatever they name, nothing of it runs, and one line says why."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_bundle import forged, small_bundle
from typer.testing import CliRunner

from kd2deploy.cli import app
from kd2deploy.core.trust import _named
from kd2deploy.exporters.bundle import write_sums


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return small_bundle(tmp_path)


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """What one test trusts is not trusted by the next."""
    before = set(_named)
    yield
    _named.clear()
    _named.update(before)


@pytest.fixture
def sentinel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the attacker's code would write; `attack` is a module of theirs on the path."""
    file = tmp_path / "it-ran"
    (tmp_path / "attack_module.py").write_text(
        f"import pathlib\npathlib.Path({str(file)!r}).write_text('imported')\n"
        "class Evil:\n    def __init__(self, *a, **k): pass\n    def run(self, feed): return {}\n"
        "    def describe(self): return {}\n    def __enter__(self): return self\n    def __exit__(self, *a): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield file
    sys.modules.pop("attack_module", None)


def refused(*command: str) -> str:
    """The one line that a command leaves with, which must be our own error and no traceback."""
    done = CliRunner().invoke(app, list(command))
    assert done.exit_code == 2, (done.exit_code, done.output, done.exception)
    assert isinstance(done.exception, SystemExit)
    lines = done.stderr.strip().splitlines()
    assert lines[0].startswith("error:") or "fault" in lines[0], lines
    assert len(lines) <= 3, lines
    return done.stderr


Change = Callable[[dict[str, Any], str], object]
TASKS: dict[str, Change] = {
    "a function of subprocess": lambda found, touch: found.update(task={"use": "subprocess.getoutput", "cmd": touch}),
    "os.system": lambda found, touch: found.update(task={"use": "os.system", "command": touch}),
    "builtins.exec": lambda found, touch: found.update(task={"use": "builtins.exec", "source": touch}),
    "a module that is imported": lambda found, touch: found.update(task={"use": "attack_module.Evil"}),
    "through a module of ours": lambda found, touch: found.update(
        task={"use": "kd2deploy.measure.processes.subprocess.Popen", "args": touch, "shell": True}
    ),
    "what a file of ours imports": lambda found, touch: found.update(
        task={"use": "kd2deploy.tasks.text_classification.Path", "args": touch}
    ),
    "a class of torch": lambda found, touch: found.update(task={"use": "torch.hub.load", "repo_or_dir": touch}),
    "no name": lambda found, touch: found.update(task={"use": ["os.system"]}),
    "no task": lambda found, touch: found.pop("task"),
    "an argument of another type": lambda found, touch: found["task"].update(labels="neg"),
    "an argument that is none": lambda found, touch: found["task"].update(cmd=touch),
    "a session that is a function": lambda found, touch: found["deployed"].update(opened_by="subprocess.getoutput"),
    "a session of theirs": lambda found, touch: found["deployed"].update(opened_by="attack_module.Evil"),
    "a session that is ours and none": lambda found, touch: found["deployed"].update(
        opened_by="kd2deploy.exporters.bundle.write_sums"
    ),
    "a private file of ours": lambda found, touch: found["deployed"].update(opened_by="kd2deploy.exporters._cpu.Path"),
    "a session that is a number": lambda found, touch: found["deployed"].update(opened_by=3),
    "options that no session takes": lambda found, touch: found.update(session={"cmd": touch}),
    "options of another type": lambda found, touch: found.update(session={"compile": {"a": 1}}),
    "a path above": lambda found, touch: found["deployed"].update(path="../encoder"),
    "an absolute path": lambda found, touch: found["deployed"].update(path="/etc"),
    "no path": lambda found, touch: found["deployed"].pop("path"),
    "a target with fields of theirs": lambda found, touch: found["target"].update(device="subprocess"),
    "another format": lambda found, touch: found.update(format={"a": "b"}),
}


@pytest.mark.parametrize("change", TASKS.values(), ids=TASKS.keys())
def test_a_forged_bundle_runs_nothing(bundle: Path, sentinel: Path, change: Change) -> None:
    forged(bundle, lambda found: change(found, f"touch {sentinel}"))
    refused("predict", str(bundle), "a good film")
    refused("profile", str(bundle))
    assert not sentinel.exists()


def test_the_bundle_that_was_not_forged_answers(bundle: Path) -> None:
    done = CliRunner().invoke(app, ["predict", str(bundle), "a good film"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.strip().splitlines()[-1])["label"] in ("neg", "pos")


def test_a_session_of_others_opens_where_it_is_named(bundle: Path, sentinel: Path) -> None:
    forged(bundle, lambda found: found["deployed"].update(opened_by="attack_module.Evil"))
    said = refused("predict", str(bundle), "a good film")
    assert "--trust attack_module.Evil" in said
    assert not sentinel.exists()
    CliRunner().invoke(app, ["predict", str(bundle), "a good film", "--trust", "attack_module.Evil"])
    assert sentinel.exists()
    assert "Python's own" in refused("predict", str(bundle), "a film", "--trust", "subprocess.getoutput")


RECIPES = {
    "a method": "distill: [{method: {use: attack_module.Evil}, epochs: 1}]",
    "Python's own": "data: {use: shutil.rmtree, path: SENTINEL}",
    "a task": "task: {use: attack_module.Evil}",
    "a target file with steps of theirs": "targets: [TARGET]",
    "a package of networks": "teacher: {from: 'package:attack_module'}",
    "a package inside a method": "distill: [{method: {use: mate_kd, generator: 'package:attack_module'}, epochs: 1}]",
}


@pytest.mark.parametrize("lines", RECIPES.values(), ids=RECIPES.keys())
def test_a_bundles_recipe_is_data(tmp_path: Path, sentinel: Path, lines: str) -> None:
    target = tmp_path / "target.yaml"
    target.write_text(
        "{name: evil, about: x, device: cpu, variants: {a: {steps: [{use: attack_module.Evil}]}}}", encoding="utf-8"
    )
    sound = {
        "task": "task: text_classification",
        "data": "data: {use: digits}",
        "teacher": f"teacher: {{from: {tmp_path / 'encoder'}}}",
        "student": "student: {shrink: {layers: 1}}",
        "distill": "distill: [{method: logit, epochs: 1}]",
        "targets": "targets: [cpu]",
    }
    sound[lines.split(":")[0]] = lines.replace("SENTINEL", str(sentinel)).replace("TARGET", str(target))
    bundle = small_bundle(tmp_path, **{"recipe.yaml": "\n".join(sound.values())})
    said = refused("export", "--from", str(bundle), "--target", "h100", "--out", str(tmp_path / "out"))
    assert re.search(r"--trust attack_module|is Python's own", said), said
    assert not sentinel.exists()


# sums ------------------------------------------------------------------------------------------------------------


def emptied(bundle: Path) -> None:
    (bundle / "SHA256SUMS").write_text("")


def without_one(bundle: Path) -> None:
    lines = (bundle / "SHA256SUMS").read_text().splitlines(keepends=True)
    (bundle / "SHA256SUMS").write_text("".join(line for line in lines if "bundle.json" not in line))


def added(bundle: Path) -> None:
    (bundle / "added.txt").write_text("more")


def twice(bundle: Path) -> None:
    lines = (bundle / "SHA256SUMS").read_text()
    (bundle / "SHA256SUMS").write_text(lines + lines.splitlines()[0] + "\n")


def listed_above(bundle: Path) -> None:
    lines = (bundle / "SHA256SUMS").read_text()
    (bundle / "SHA256SUMS").write_text(lines + f"{'0' * 64}  ../encoder/config.json\n")


def piped(bundle: Path) -> None:
    os.mkfifo(bundle / "pipe")


def linked_out(bundle: Path) -> None:
    file = bundle / "config.json"
    file.rename(bundle.parent / "config.json")
    file.symlink_to(bundle.parent / "config.json")


def linked_folder(bundle: Path) -> None:
    (bundle / "more").symlink_to(bundle.parent / "encoder")


def sums_are_a_pipe(bundle: Path) -> None:
    (bundle / "SHA256SUMS").unlink()
    os.mkfifo(bundle / "SHA256SUMS")


def not_text(bundle: Path) -> None:
    (bundle / "SHA256SUMS").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize(
    "change",
    [emptied, without_one, added, twice, listed_above, piped, linked_out, linked_folder, sums_are_a_pipe, not_text],
)
def test_the_sums_list_exactly_what_is_there(bundle: Path, change: Callable[[Path], None]) -> None:
    change(bundle)
    refused("predict", str(bundle), "a good film")


def test_a_snapshot_of_the_hubs_cache_is_read_through_its_links(bundle: Path, tmp_path: Path) -> None:
    """The hub's client keeps a repository's files in blobs/ and links them from snapshots/."""
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    for at, file in enumerate(sorted(file for file in bundle.rglob("*") if file.is_file())):
        place = snapshot / file.relative_to(bundle)
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blobs / str(at))
        place.symlink_to(os.path.relpath(blobs / str(at), place.parent))
    (snapshot / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    done = CliRunner().invoke(app, ["predict", str(snapshot), "a good film"])
    assert done.exit_code == 0, done.output


def test_the_sums_are_written_of_all_that_is_there(bundle: Path) -> None:
    added(bundle)
    write_sums(bundle)
    assert re.search(r"^[0-9a-f]{64}  added.txt$", (bundle / "SHA256SUMS").read_text(), re.MULTILINE)
