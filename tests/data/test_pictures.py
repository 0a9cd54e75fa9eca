"""Folders of pictures as they lie on people's disks."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd2deploy.data.files import files
from kd2deploy.errors import DataError


def made(folder: Path, *names: str) -> Path:
    """Files by name, each a picture of its own where its ending is one that Pillow writes, else a few bytes."""
    for place, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix.lower() in Image.registered_extensions() and not file.name.startswith("."):
            Image.fromarray(np.full((4, 4), 10 * place, dtype=np.uint8)).save(file)
        else:
            file.write_bytes(b"\0\5\26\7")
    return folder


def labelled(folder: Path) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    found = files(str(folder), str(folder))
    return [(Path(row["image"]).name, row["label"]) for row in found.train], found.warnings


def test_hidden_names_and_resource_forks_are_no_pictures_and_other_kinds_are_told(tmp_path: Path) -> None:
    names = ("cat/a.png", "cat/._a.png", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/cat/._a.png", "dog/b.PNG")
    more = ("dog/c.heic", "dog/d.heic", "dog/e.avif", "dog/f.jfif", "dog/notes", "dog/__MACOSX/g.png", ".DS_Store")
    rows, warnings = labelled(made(tmp_path, *names, *more))
    assert rows == [("a.png", "cat"), ("b.PNG", "dog"), ("e.avif", "dog"), ("f.jfif", "dog")]
    assert len(warnings) == 1, "the same folder is told of once"
    assert "files of other kinds were left out: 2 .heic, 1 without an ending;" in warnings[0]


def test_avif_is_told_of_where_pillow_cannot_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "cat/a.png", "cat/b.avif", "dog/c.png")
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    rows, (warning,) = labelled(tmp_path)
    assert rows == [("a.png", "cat"), ("c.png", "dog")]
    assert ": 1 .avif;" in warning


@pytest.mark.parametrize(
    "names",
    [
        ("train/cat/a.png", "train/dog/b.png", "val/cat/c.png"),
        ("Train/a.png", "TEST/b.png"),
        ("train/cat/a.png",),
        ("dev/a.png", "eval/b.png", "other/c.png"),
        ("validation/cat/a.png", "classes/b.png"),
    ],
)
def test_a_folder_of_splits_is_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"which are splits and no classes; give one folder per split, such as `train:"):
        labelled(made(tmp_path, *names))


def test_a_class_may_be_called_as_a_split_is(tmp_path: Path) -> None:
    rows, _ = labelled(made(tmp_path, "car/a.png", "train/b.png", "tram/c.png"))
    assert [label for _, label in rows] == ["car", "train", "tram"]


def test_what_lies_beside_and_classes_without_pictures_are_told(tmp_path: Path) -> None:
    rows, warnings = labelled(made(tmp_path, "cat/deep/a.png", "dog/b.heic", "stray.png", "readme.txt"))
    assert rows == [("a.png", "cat")]
    assert ": 1 .heic, 1 .txt;" in warnings[0]
    assert "left out: stray.png" in warnings[1]
    assert "no class was made of dog" in warnings[2]


def test_pipes_and_links_that_turn_in_circles_are_passed_over(tmp_path: Path) -> None:
    made(tmp_path, "cat/a.png", "dog/b.png")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "cat" / "loop").symlink_to(tmp_path / "cat")
    (tmp_path / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    rows, (warning,) = labelled(tmp_path)
    assert rows == [("a.png", "cat"), ("b.png", "dog")]
    assert ": 2 .png;" in warning


def test_pictures_alone_have_no_label(tmp_path: Path) -> None:
    made(tmp_path / "free", "a.png", ".hidden.png", "b.txt")
    made(tmp_path / "train", "cat/a.png", "dog/b.png")
    found = files(str(tmp_path / "train"), str(tmp_path / "train"), unlabelled=str(tmp_path / "free"))
    assert found.unlabelled == [{"image": str(tmp_path / "free" / "a.png")}]


def test_what_systems_put_beside_pictures_makes_no_class_and_no_row(tmp_path: Path) -> None:
    names = ("cat/a.png", "dog/b.png", "@eaDir/cat/thumb.jpg", "cat/@eaDir/a.png/thumb.jpg", "$RECYCLE.BIN/x.png")
    made(tmp_path, *names, "cat/Thumbs.db", "dog/desktop.ini", "._cat/a.png", "cat/.DS_Store", "__MACOSX/dog/b.png")
    rows, warnings = labelled(tmp_path)
    assert rows == [("a.png", "cat"), ("b.png", "dog")]
    assert warnings == ()


def test_folders_of_numbers_are_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    from kd2deploy.data.prepare import prepare
    from kd2deploy.tasks.image_classification import ImageClassification

    names = [f"{label}/{place}.png" for label in (1, 2, 10) for place in range(3)]
    made(tmp_path / "train", *names)
    made(tmp_path / "eval", *names)
    found = prepare(files(str(tmp_path / "train"), str(tmp_path / "eval")), ImageClassification, {})
    assert found.labels == ("1", "2", "10")
    assert {(Path(row["image"]).parent.name, row["label"]) for row in found.eval} == {("1", 0), ("2", 1), ("10", 2)}


def test_folders_without_a_picture_that_can_be_read_say_what_they_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train holds no picture that is read: 2 \.heic; pictures are read as"):
        labelled(made(tmp_path / "train", "cat/a.heic", "dog/b.heic"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no picture that is read$"):
        labelled(tmp_path / "empty")
