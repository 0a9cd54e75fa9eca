"""The command line as a user meets it: help, lists, single steps, and errors without tracebacks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from recipes.small_run import recipe, written

from kd2deploy.cli import errors_shown

COMMAND = [sys.executable, "-m", "kd2deploy"]
COMMANDS = (
    "compress",
    "plan",
    "distill",
    "export",
    "profile",
    "report",
    "predict",
    "demo",
    "init",
    "methods",
    "targets",
    "doctor",
)


def run(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=cwd, timeout=300)


def test_help_names_every_command_and_the_exit_codes() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)
    assert "INCONCLUSIVE" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("compress",),
        ("compress", "none.yaml"),
        ("compress", "--teacher", "none", "--train", "none.csv", "--eval", "none.csv"),
        ("plan", "none.yaml"),
        ("report", "none"),
        ("predict", "none", "text"),
        ("export", "none", "--out", "out"),
        ("profile", "none"),
        ("init", "--teacher", "t", "--train", "none.csv", "--eval", "none.csv"),
        ("report", "binary"),
    ],
)
def test_a_users_error_is_one_message_and_exit_code_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_init_writes_a_recipe_that_the_dry_run_accepts(tmp_path: Path) -> None:
    recipe(tmp_path)
    arguments = ("--teacher", "encoder", "--train", "train.csv", "--eval", "eval.csv")
    assert run("init", *arguments, cwd=tmp_path).returncode == 0
    done = run("compress", "recipe.yaml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "120 evaluation rows" in done.stdout
    assert not (tmp_path / "runs").exists()
    again = run("init", *arguments, cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_a_recipe_and_flags_that_say_the_same_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path)
    done = run("compress", str(file), "--method", "logit")
    assert done.returncode == 2
    assert "--method" in done.stderr


def test_methods_and_targets_are_listed() -> None:
    done = run("methods")
    assert done.returncode == 0, done.stderr
    assert "rail_kd" in done.stdout
    done = run("targets")
    assert done.returncode == 0, done.stderr
    assert "cpu" in done.stdout


def test_what_the_system_refuses_is_one_message_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, errors_shown():
        Path("no/such/folder/recipe.yaml").write_text("")
    assert caught.value.exit_code == 2
    assert "no/such/folder/recipe.yaml: No such file or directory" in capsys.readouterr().err


@pytest.mark.recipe
def test_doctor_finds_a_runtime_that_works() -> None:
    done = run("doctor")
    assert done.returncode == 0, done.stdout
    assert "CPUExecutionProvider" in done.stdout
    assert "GFLOP/s" in done.stdout


@pytest.mark.recipe
def test_export_and_profile_work_alone(tmp_path: Path) -> None:
    recipe(tmp_path)
    data = ("--data", str(tmp_path / "eval.csv"))
    done = run("export", str(tmp_path / "encoder"), "--out", str(tmp_path / "out"), "--variant", "onnx", *data)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "out").rglob("*.onnx"))
    done = run("profile", str(tmp_path / "encoder"), "--out", str(tmp_path / "timed"), *data)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "timed" / "report.json").read_text())
    assert found["contenders"][0]["timing"]["samples"] > 10
