"""The program that counts kills: a few of them, and that it sees what is torn or different."""

import random
from pathlib import Path

import pytest
from _killed_run import live
from kills import differences, left_over, lengths, life, networks, torn


@pytest.mark.recipe
def test_a_training_that_is_killed_at_random_instants_ends_with_the_same_student(tmp_path: Path) -> None:
    whole = live(tmp_path / "whole", until="distill")
    assert whole.code == 0
    assert {"teacher", "student", "student-seed0"} <= set(whole.began)
    found = life(tmp_path / "life", lengths(whole), random.Random(0), wanted=4, times=2, until="distill")
    assert 1 <= found["kills"].total() <= 4, "a run may be faster than the one that the instants are drawn from"
    assert not found["faults"]
    assert networks(tmp_path / "life") == networks(tmp_path / "whole")
    assert len(networks(tmp_path / "whole")) == 3


def test_what_is_torn_or_left_over_or_different_is_seen(tmp_path: Path) -> None:
    (tmp_path / "stages" / ".one.partial" / ".scratch").mkdir(parents=True)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "model.onnx").write_text("half")
    (tmp_path / "bundle" / "SHA256SUMS").write_text(f"{'0' * 64}  model.onnx\n")
    (tmp_path / "report.html").write_text("")
    (tmp_path / "report.json").write_text('{"half": ')
    assert torn(tmp_path) == ["report.json", "report.html", "bundle/model.onnx"]
    assert left_over(tmp_path) == ["stages/.one.partial", "stages/.one.partial/.scratch"]
    assert differences({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == [".a[1].b: 2 became 3"]
    assert not differences({"a": [1]}, {"a": [1]})
