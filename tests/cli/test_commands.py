"""The command line as a user meets it: help, lists, single steps, and errors without tracebacks."""

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from recipes.small_run import recipe, written
from typer.testing import CliRunner

from kd2deploy import __version__
from kd2deploy.cli import app
from kd2deploy.core.verdict import Outcome
from kd2deploy.report import Report
from tests.report.example import example as passed

COMMANDS = (
    "compress",
    "plan",
    "distill",
    "export",
    "profile",
    "report",
    "predict",
    "push",
    "sign",
    "verify",
    "finish",
    "compare",
    "demo",
    "init",
    "methods",
    "targets",
    "doctor",
)


def run(*arguments: str, cwd: Path | None = None, given: str | None = None) -> SimpleNamespace:
    """The command in this process, off a terminal; an error that is not caught is exit code 1 here."""
    with contextlib.chdir(cwd or Path.cwd()):
        done = CliRunner().invoke(app, list(arguments), input=given)
    return SimpleNamespace(returncode=done.exit_code, stdout=done.stdout, stderr=done.stderr)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ((), "demo"),
        (("--quick",), "demo_quick"),
        (("--all-labels",), "demo_all_labels"),
        (("--task", "images"), "demo_images"),
        (("--task", "speech"), "demo_speech"),
        (("--task", "images", "--quick"), "digits"),
        (("--task", "detection"), "demo_detection"),
        (("--task", "detection", "--quick"), "detection"),
        (("--task", "restoration"), "demo_restoration"),
        (("--task", "restoration", "--quick"), "restoration"),
    ],
)
def test_every_demo_is_a_recipe_that_comes_along(
    flags: tuple[str, ...], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("kd2deploy.cli.runs.carry_out", lambda file, out: asked.append((file, out)))
    assert run("demo", *flags).returncode == 0
    ((file, out),) = asked
    assert (file.name, out) == (f"{name}.yaml", Path("runs") / name)
    assert file.is_file()


def test_demos_that_exclude_each_other_are_refused() -> None:
    for flags in (("--quick", "--all-labels"), ("--task", "images", "--all-labels"), ("--task", "sounds")):
        assert run("demo", *flags).returncode == 2


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
    other = run("init", *arguments, "--out", "other.yaml", "--json", cwd=tmp_path)
    assert json.loads(other.stdout) == {"recipe": "other.yaml"}


def test_a_recipe_and_flags_that_say_the_same_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path)
    done = run("compress", str(file), "--method", "logit")
    assert done.returncode == 2
    assert "--method" in done.stderr


def test_the_version_is_told() -> None:
    assert run("--version").stdout == f"kd2deploy {__version__}\n"


def test_methods_and_targets_are_listed_with_whole_names_in_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    done = run("methods")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("logit_standardization")]
    assert line.endswith("logit scale.")
    done = run("targets")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("cpu")] == ["cpu", "cpu-2core"]


def test_one_method_and_one_target_are_told_in_detail() -> None:
    shown = run("methods", "rail_kd").stdout
    assert "arXiv:2109.10164" in shown
    assert "temperature  float = 4.0" in shown
    shown = run("targets", "cpu").stdout
    assert "onnx_from_torch, opset 20 -> fused_from_onnx" in shown
    assert run("methods", "rial_kd").stderr.endswith("did you mean 'rail_kd'?\n")
    assert run("targets", "gpu").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("methods",), {"name", "about", "source", "departs", "arguments", "searched", "text"}),
        (("methods", "dkd"), {"name", "about", "source", "departs", "arguments", "searched", "text"}),
        (("targets",), {"name", "variants", "gates", "workload", "file"}),
        (("targets", "cpu"), {"name", "variants", "gates", "workload", "file"}),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_json_is_one_document_wherever_it_is_asked_for(
    arguments: tuple[str, ...], names: set[str], before: bool
) -> None:
    done = run(*(("--json", *arguments) if before else (*arguments, "--json")))
    found = json.loads(done.stdout)
    assert names <= set(found[0] if isinstance(found, list) else found)


def test_an_error_is_a_document_too_where_json_is_asked_for() -> None:
    done = run("methods", "rial_kd", "--json")
    found = json.loads(done.stdout)
    assert found["exit_code"] == done.returncode == 2
    assert found["faults"] == [{"path": "NAME", "message": "no method is called 'rial_kd'; did you mean 'rail_kd'?"}]


@pytest.mark.parametrize(
    "arguments",
    [("demo",), ("compress", "r.yaml"), ("profile", "m"), ("export", "m"), ("compare",), ("distill", "r.yaml")],
)
def test_an_empty_folder_to_write_to_is_refused(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "--out", "")
    assert done.returncode == 2
    assert "it is empty; name a place to write to" in done.stderr


def test_a_report_that_cannot_be_rendered_anew_is_shown_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed().write(tmp_path / "report.json")

    def refuse(report: Report, folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder / "report.html"))

    monkeypatch.setattr("kd2deploy.report.pages.write_report", refuse)
    done = run("report", str(tmp_path))
    assert done.returncode == 0
    assert passed().verdict.sentence in done.stdout
    assert "not rendered anew (Permission denied)" in done.stderr
    assert json.loads(run("report", str(tmp_path), "--json").stdout)["verdict"]["outcome"] == "PASS"


def test_a_runs_document_names_the_verdict_as_the_report_does(capsys: pytest.CaptureFixture[str]) -> None:
    from kd2deploy.cli.ending import end
    from kd2deploy.cli.screen import Screen, showing
    from kd2deploy.flows.compress import Result

    result = Result("cpu", passed(Outcome.FAIL), Path("run"), None)
    with pytest.raises(typer.Exit) as caught, showing(Screen(json=True)):
        end([result])
    found = json.loads(capsys.readouterr().out)
    assert found["exit_code"] == caught.value.exit_code == 1
    assert found["targets"][0]["outcome"] == found["targets"][0]["verdict"]["outcome"] == "FAIL"
    assert found["targets"][0]["report"] == "run/report.json"


def answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions that say what they were asked."""

    def echo(bundle: Path, given: Iterable[str], pair: str | None) -> Iterator[dict[str, str]]:
        for text in given:
            yield {"text": text}

    monkeypatch.setattr("kd2deploy.flows.predict.predict_alone", echo)


@pytest.mark.parametrize("typed", [("-5",), ("--", "-5"), ("-1.5 degrees",), ("--", "-v"), ("--", "--quiet")])
def test_a_text_may_begin_with_a_minus(typed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch)
    done = run("predict", "bundle", *typed)
    assert json.loads(done.stdout) == {"text": typed[-1]}, done.stderr


def test_lines_of_standard_input_are_answered_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch)
    done = run("predict", "bundle", "-", given="one\n\ntwo")
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["one", "", "two"]
    done = run("predict", "bundle", "-", "--json", given="one\ntwo\n")
    assert json.loads(done.stdout) == [{"text": "one"}, {"text": "two"}]


def test_the_package_lists_its_public_names() -> None:
    import kd2deploy

    assert set(kd2deploy.__all__) <= set(dir(kd2deploy))
    assert all(getattr(kd2deploy, name).__doc__ for name in kd2deploy.__all__)


@pytest.mark.recipe
def test_doctor_finds_a_runtime_that_works() -> None:
    done = run("doctor")
    assert done.returncode == 0, done.stdout
    assert "CPUExecutionProvider" in done.stdout
    assert "GFLOP/s" in done.stdout
    told = json.loads(run("doctor", "--json").stdout)
    assert told["works"] is True
    assert told["machine"]
    assert "CPUExecutionProvider" in json.dumps(told["runtimes"])


@pytest.mark.recipe
def test_export_and_profile_work_alone(tmp_path: Path) -> None:
    recipe(tmp_path)
    data = ("--data", str(tmp_path / "eval.csv"))
    done = run(
        "export", str(tmp_path / "encoder"), "--out", str(tmp_path / "out"), "--variant", "onnx", *data, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in json.loads(done.stdout)["written"]] == ["onnx"]
    assert list((tmp_path / "out").rglob("*.onnx"))
    done = run("profile", str(tmp_path / "encoder"), "--out", str(tmp_path / "timed"), *data, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "timed" / "report.json").read_text())
    assert json.loads(done.stdout) == found
    assert found["contenders"][0]["timing"]["samples"] > 10
