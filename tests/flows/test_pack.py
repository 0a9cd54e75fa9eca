"""A pack stands where it was asked for, whole, or nothing does."""

from pathlib import Path
from typing import Any

import pytest

from kd2deploy.errors import ConvertError
from kd2deploy.flows import pack


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
