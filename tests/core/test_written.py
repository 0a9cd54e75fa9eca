"""A kill at any instant leaves the old or the new, never half of one."""

import sys
from pathlib import Path
from typing import Any

import pytest

from kd2deploy.core import written
from kd2deploy.core.written import aside, exchanged, put_in_place, restore, write_text


class Killed(BaseException):
    """What a kill is to a program: nothing after it runs."""


class Mortal:
    """Lets a program live through so many calls of what changes the disk, and kills it at the next."""

    def __init__(self, lives: int) -> None:
        self.lives = lives

    def around(self, function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self.lives -= 1
            if self.lives < 0:
                raise Killed
            return function(*arguments, **named)

        return call


def filled(folder: Path, word: str) -> Path:
    """A folder of two files that belong together."""
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "one.txt").write_text(word)
    (folder / "deep" / "two.txt").write_text(word)
    return folder


def content(folder: Path) -> set[str]:
    return {file.read_text() for file in (folder / "one.txt", folder / "deep" / "two.txt")}


@pytest.mark.parametrize("lives", range(4))
def test_a_file_is_the_old_or_the_new(lives: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.html"
    write_text(file, "old")
    mortal = Mortal(lives)
    with monkeypatch.context() as moment:
        for name in ("open", "replace"):
            moment.setattr(Path, name, mortal.around(getattr(Path, name)))
        moment.setattr("os.fsync", mortal.around(lambda descriptor: None))
        try:
            write_text(file, "new, and longer")
        except Killed:
            assert lives < 3
    assert file.read_text() == ("old" if lives < 3 else "new, and longer")
    write_text(file, "again")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("lives", range(12))
def test_a_folder_is_the_old_or_the_new(
    exchanges: bool, lives: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = filled(tmp_path / "bundle", "old")
    mortal = Mortal(lives)
    with monkeypatch.context() as moment:
        if not exchanges:
            moment.setattr(written, "exchanged", lambda one, other: False)
        moment.setattr(written, "exchanged", mortal.around(written.exchanged))
        for name in ("rename", "unlink", "rmdir", "mkdir"):
            moment.setattr(Path, name, mortal.around(getattr(Path, name)))
        moment.setattr("os.unlink", mortal.around(written.os.unlink))
        moment.setattr("os.rmdir", mortal.around(written.os.rmdir))
        try:
            put_in_place(filled(aside(place), "new"), place)
            finished = True
        except Killed:
            finished = False
    if exchanges:
        assert content(place) in ({"old"}, {"new"}), "at once, without any mending"
    restore(place)
    assert content(place) in ({"old"}, {"new"})
    assert content(place) == {"new"} or not finished
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    put_in_place(filled(aside(place), "newest"), place)
    assert content(place) == {"newest"}


def test_the_first_folder_takes_its_name(tmp_path: Path) -> None:
    made = filled(aside(tmp_path / "bundle"), "new")
    assert not (tmp_path / "bundle").exists()
    put_in_place(made, tmp_path / "bundle")
    assert content(tmp_path / "bundle") == {"new"}


@pytest.mark.skipif(sys.platform != "linux", reason="names are exchanged by Linux's renameat2")
def test_linux_exchanges_two_folders_in_one_step(tmp_path: Path) -> None:
    one, other = filled(tmp_path / "one", "one"), filled(tmp_path / "other", "other")
    assert exchanged(one, other)
    assert (content(one), content(other)) == ({"other"}, {"one"})
    assert not exchanged(one, tmp_path / "absent")
