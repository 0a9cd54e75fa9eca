"""A name may stand for several files, here or elsewhere."""

import os
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from kd2deploy.data.files import files
from kd2deploy.data.more import more
from kd2deploy.errors import DataError
from kd2deploy.recipe.from_flags import described

ONE, TWO = "sentence,label\na,x\nb,y\n", "label,sentence\nx,c\n"
WANTED = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}, {"text": "c", "label": "x"}]


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KD2DEPLOY_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "2.csv").write_text(TWO)
    (folder / "1.csv").write_text(ONE)
    (folder / ".part.csv").write_text("half")
    return folder


@pytest.mark.parametrize("name", ["{}", "{}/*.csv", "{}/[12].csv", "file://{}/*.csv", "file://{}"])
def test_patterns_folders_and_addresses_give_all_rows_in_the_order_of_the_files(name: str, shards: Path) -> None:
    name = name.format(shards)
    if name.startswith("file"):
        (shards / ".part.csv").unlink()
    found = files(name, str(shards / "1.csv"), text="sentence")
    assert found.train == WANTED
    assert found.name("train") == name
    assert more(labelled=name, text="sentence").train == WANTED


def test_files_elsewhere_are_fetched_once_and_again_when_they_change(shards: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/rows14/train.csv", ONE.encode())
    url = "memory://rows14/train.csv"
    assert files(url, url, text="sentence").train == WANTED[:2]
    (kept,) = (shards.parent / "cache").rglob("train.csv")
    before = kept.stat().st_mtime_ns
    files(url, url, text="sentence")
    assert kept.stat().st_mtime_ns == before
    memory.pipe("/rows14/train.csv", TWO.encode())
    assert files(url, url, text="sentence").train == WANTED[2:]
    assert described(url, None, {})[1] == {"text": "sentence", "label": "label"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("{}/*.tsv", r"no file matches .*\*.tsv \(looked for in "),
        ("memory://rows14/absent/*.csv", "does not exist, or holds no file that is read"),
        ("nowhere://a/b.csv", "nothing reads nowhere://"),
        pytest.param(
            "s3://bucket/a.csv",
            "read by a package that is not installed.*`pip install s3fs`",
            marks=pytest.mark.skipif(find_spec("s3fs") is not None, reason="it is installed"),
        ),
    ],
)
def test_places_that_stand_for_nothing_are_refused_in_one_line(name: str, told: str, shards: Path) -> None:
    with pytest.raises(DataError, match=told) as found:
        files(name.format(shards), str(shards / "1.csv"))
    assert "\n" not in str(found.value)


def test_a_place_that_may_not_be_read_is_told(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the super user may read all, the file system itself refuses."""
    local = fsspec.filesystem("file")

    def refuse(*given: object, **named: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(local), "get_file", refuse)
    with pytest.raises(DataError, match=r"may not be read \(Access Denied\); check your credentials"):
        files(f"file://{shards}/1.csv", str(shards / "1.csv"))


def test_shards_of_other_columns_or_of_several_kinds_are_refused(shards: Path) -> None:
    (shards / "3.csv").write_text("sentence,class\nd,x\n")
    with pytest.raises(
        DataError, match=r"3.csv and .*1.csv do not have the same columns \(class, label in one alone\)"
    ):
        files(str(shards), str(shards / "1.csv"))
    (shards / "4.jsonl").write_text('{"sentence": "e"}\n')
    with pytest.raises(DataError, match=r"4 files of several kinds \(.csv, .jsonl\); name those to read by a pattern"):
        files(str(shards), str(shards / "1.csv"))


def test_files_of_several_splits_are_not_read_as_one(shards: Path) -> None:
    for name in ("train-0.csv", "train-1.csv", "dev.csv"):
        (shards / name).write_text(ONE)
    with pytest.raises(DataError, match=r"files of several splits \(dev, train\); name those of one by a pattern"):
        files(str(shards), str(shards / "1.csv"))
    assert files(f"{shards}/train-*.csv", str(shards / "dev.csv"), text="sentence").train == WANTED[:2] * 2


def test_a_folder_with_a_picture_stays_a_folder_of_pictures(shards: Path) -> None:
    (shards / "cats").mkdir()
    Image.new("L", (2, 2)).save(shards / "cats" / "one.png")
    found = files(str(shards), str(shards)).train
    assert [Path(os.fspath(row["image"])).name for row in found] == ["one.png"]
