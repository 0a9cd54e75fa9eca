"""Uploading a bundle: what is said before anything is sent, and one line where the hub is out of reach."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from other_processes import PATIENCE_S

from kd2deploy.errors import RunError, SessionError
from kd2deploy.exporters.bundle import write_sums
from kd2deploy.flows.push import push


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "model.onnx").write_bytes(b"0" * 2_000_000)
    (folder / "bundle.json").write_text("{}")
    (folder / "report.json").write_text(json.dumps({"command": "kd2deploy compress /home/ann/recipe.yaml"}))
    (folder / "recipe.yaml").write_text("data: {train: data/train.csv}\n")
    write_sums(folder)
    return folder


def test_a_dry_run_lists_every_file_and_sends_nothing(bundle: Path) -> None:
    lines = push(bundle, "ann/student", dry_run=True)
    assert lines[0].split() == ["0.000", "MB", "SHA256SUMS"]
    assert "     2.000 MB  onnx/model.onnx" in lines
    assert lines[5].endswith("MB  in 5 files")
    assert lines[-1] == "nothing was uploaded; without --dry-run this becomes ann/student (private)"
    assert push(bundle, "ann/student", public=True, dry_run=True)[-1].endswith("(public)")


def test_files_that_name_places_of_this_machine_are_told(bundle: Path) -> None:
    warnings = [line for line in push(bundle, "ann/student", dry_run=True) if line.startswith("warning")]
    assert len(warnings) == 1
    assert "report.json" in warnings[0]
    assert "/home/ann/recipe.yaml" in warnings[0]


@pytest.mark.parametrize("name", ["student", "ann/student/x", "ann/..", "-ann/student"])
def test_a_name_that_the_hub_would_refuse_is_refused_here(bundle: Path, name: str) -> None:
    with pytest.raises(RunError, match="give user/name"):
        push(bundle, name, dry_run=True)


def test_what_is_no_bundle_or_a_changed_one_is_not_sent(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a bundle"):
        push(tmp_path, "ann/student", dry_run=True)
    (bundle / "recipe.yaml").write_text("changed")
    with pytest.raises(SessionError, match=r"recipe\.yaml was changed"):
        push(bundle, "ann/student", dry_run=True)


def test_without_a_network_there_is_one_line(bundle: Path) -> None:
    """The hub's own offline mode, which the tests run under."""
    command = [sys.executable, "-m", "kd2deploy", "push", str(bundle), "ann/student"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the hub cannot be reached (Cannot reach")
    assert done.stderr.count("\n") == 1
