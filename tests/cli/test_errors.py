"""Every way that a command can end without a result: which exit code, which line, and where the traceback lies."""

import errno
import json
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
import torch
import typer

from kd2deploy.cli import errors_shown
from kd2deploy.cli.errors import CRASHED, INTERRUPTED, READER_GONE, USER_ERROR
from kd2deploy.cli.interrupts import TERMINATED, Terminated
from kd2deploy.cli.screen import Screen, showing
from kd2deploy.core.verdict import EXIT_CODES
from kd2deploy.errors import DataError


def ended(error: BaseException, screen: Screen | None = None) -> int:
    with pytest.raises(typer.Exit) as caught, showing(screen or Screen()), errors_shown():
        raise error
    return caught.value.exit_code


def test_a_fault_of_the_program_has_a_code_of_its_own_and_its_traceback_in_the_run_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(KeyError("sentence"), Screen(folder=tmp_path)) == CRASHED == 70
    assert CRASHED not in {*EXIT_CODES.values(), USER_ERROR, INTERRUPTED}
    (line,) = capsys.readouterr().err.splitlines()
    (file,) = tmp_path.glob("crash-*.txt")
    assert line.startswith("error: kd2deploy itself failed (KeyError: 'sentence'): a fault of the program")
    assert str(file) in line
    written = file.read_text()
    assert "Traceback (most recent call last)" in written
    assert "KeyError: 'sentence'" in written
    assert "command: " in written
    assert "torch 2" in written


@pytest.mark.parametrize("folder", [None, Path("no/such/run")])
def test_without_a_folder_the_traceback_lies_in_a_temporary_file(
    folder: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ended(RecursionError("maximum recursion depth exceeded"), Screen(folder=folder)) == CRASHED
    (file,) = tmp_path.iterdir()
    assert str(file) in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_does_not_hide_the_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "run"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    write = Path.write_text

    def refuse(self: Path, *rest: object, **more: object) -> int:
        if self.parent == place:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", refuse)
    assert ended(ZeroDivisionError("division by zero"), Screen(folder=place)) == CRASHED
    assert "kd2deploy-" in capsys.readouterr().err


def too_much() -> BaseException:
    """What torch itself raises where it gets no memory."""
    try:
        torch.empty(1 << 60, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_memory_that_runs_out_is_told_as_such_with_a_remedy(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(error) == USER_ERROR
    said = capsys.readouterr().err
    assert said.startswith("error: memory ran out")
    assert "smaller `batch`" in said


def test_memory_that_torch_does_not_get_is_known_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(too_much()) == USER_ERROR
    assert capsys.readouterr().err.startswith("error: memory ran out")


def test_what_the_system_refuses_is_one_message_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, errors_shown():
        Path("no/such/folder/recipe.yaml").write_text("")
    assert caught.value.exit_code == 2
    assert "no/such/folder/recipe.yaml: No such file or directory" in capsys.readouterr().err


def test_an_interruption_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(KeyboardInterrupt(), Screen(folder=tmp_path)) == INTERRUPTED
    assert capsys.readouterr().err == "interrupted; the same command continues from here\n"


@pytest.mark.parametrize(("end", "code"), [(KeyboardInterrupt(), INTERRUPTED), (Terminated(), TERMINATED)])
def test_a_command_that_keeps_no_work_does_not_promise_to_continue(
    end: KeyboardInterrupt, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(end) == code
    assert capsys.readouterr().err.endswith("; nothing is left half done, give the same command again\n")


def test_brackets_in_a_message_survive(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(DataError("data [v2].csv: pip install 'kd2deploy[tensorrt]'")) == USER_ERROR
    assert capsys.readouterr().err == "error: data [v2].csv: pip install 'kd2deploy[tensorrt]'\n"


def test_a_fault_is_a_document_where_json_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(KeyError("x"), Screen(json=True, folder=tmp_path)) == CRASHED
    found = json.loads(capsys.readouterr().out)
    assert found["exit_code"] == CRASHED
    assert "crash-" in found["error"]


@pytest.mark.parametrize("error", [typer.Exit(3), typer.Abort(), typer.BadParameter("no")])
def test_what_the_command_line_itself_raises_goes_on(error: BaseException) -> None:
    with pytest.raises(type(error)), errors_shown():
        raise error


@pytest.mark.parametrize("given", [("methods",), ("methods", "--json")])
def test_a_table_whose_reader_went_away_does_not_end_with_the_code_of_a_failed_verdict(given: tuple[str, ...]) -> None:
    with subprocess.Popen([sys.executable, "-m", "kd2deploy", *given], stdout=PIPE, stderr=PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        said = child.stderr.read()
    assert (child.returncode, said) == (READER_GONE, b"")
