"""A pack stands where it was asked for, whole, or nothing does."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_several

from kd2deploy.core.watcher import Silent
from kd2deploy.errors import ConvertError
from kd2deploy.flows import pack
from kd2deploy.flows.export import Wanted, export

ROWS = [
    ("a good plot", ["plot"]),
    ("fun", ["fun"]),
    ("very slow film", ["slow"]),
    ("dull", []),
    ("slow plot", ["plot", "slow"]),
]
"""Texts, and what is said of them."""


def packed(place: Path) -> Path:
    return pack.write_pack(None, [], 0, None, None, place)  # type: ignore[arg-type]


def filled(*_: Any) -> Any:
    folder: Path = _[0]
    (folder / "pack.json").write_text("{}")
    (folder / "networks").mkdir()


@pytest.mark.parametrize("end", [KeyboardInterrupt(), ConvertError("no variant can be packed")])
def test_what_ends_midway_leaves_nothing(end: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def midway(*given: Any) -> None:
        filled(*given)
        raise end

    monkeypatch.setattr(pack, "fill", midway)
    with pytest.raises(type(end)):
        packed(tmp_path / "pack")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", [False, True])
def test_after_a_kill_the_same_command_writes_it(there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could clear away what SIGKILL left aside; an empty folder may stand there already."""
    place = tmp_path / "pack"
    (tmp_path / ".pack.new").mkdir()
    (tmp_path / ".pack.new" / "half").write_text("of a pack")
    if there:
        place.mkdir()
    monkeypatch.setattr(pack, "fill", filled)
    assert packed(place) == place
    assert sorted(file.name for file in place.iterdir()) == ["networks", "pack.json"]
    assert [file.name for file in tmp_path.iterdir()] == ["pack"]


def test_a_folder_that_holds_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("work")
    with pytest.raises(ConvertError, match="is not empty"):
        packed(tmp_path)
    assert (tmp_path / "mine").read_text() == "work"


def test_what_is_chosen_for_a_student_of_several_labels_is_packed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its threshold is found on the validation rows while the pack is made, whose folder must be empty until then."""
    monkeypatch.setattr("kd2deploy.flows.export.device_is_here", lambda target: False)
    labels = ("fun", "plot", "slow")
    teacher, student = (save_several(tmp_path / name, labels=labels) for name in ("teacher", "student"))
    for name in ("train", "eval"):
        rows = [{"text": text, "label": labels} for text, labels in ROWS * 4]
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    wanted = Wanted(
        tmp_path / "pack",
        "cpu",
        ["onnx"],
        str(teacher),
        str(tmp_path / "train.jsonl"),
        str(tmp_path / "eval.jsonl"),
        task="text_multilabel",
        columns={},
        gates={},
        max_length=16,
    )
    lines = export(str(student), None, wanted, Silent())
    assert lines[-1].startswith(f"pack: {tmp_path / 'pack'}")
    (packed_student,) = pack.read_pack(tmp_path / "pack").of("student")
    assert packed_student.model.task.metric.choices()
    assert not [file.name for file in tmp_path.iterdir() if file.name.startswith(".")]
