"""Splits as an artifact: what is written comes back, and what was changed is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from kd2deploy.core.rows import read_rows, write_rows
from kd2deploy.data.splits import Splits, read_splits, write_splits
from kd2deploy.errors import DataError, TrustError

SPLITS = Splits(
    train=[{"text": "a\u2028 b", "label": 1, "index": 0}, {"text": "c", "label": None, "index": 1}],
    validation=[{"text": "d", "label": 0, "index": 0}],
    eval=[{"text": "e", "label": [0, 1], "index": 0}],
    labels=("neg", "pos"),
    warnings=("one",),
    overlap=2,
    sha256="of the rows",
    details={"cut": "3 %"},
)


@pytest.mark.parametrize("copies", [True, False])
def test_splits_come_back_as_they_were(tmp_path: Path, copies: bool) -> None:
    write_splits(SPLITS, tmp_path / "splits", copies=copies)
    assert read_splits(tmp_path / "splits", copies=copies) == SPLITS


def test_a_changed_row_is_refused(tmp_path: Path) -> None:
    write_splits(SPLITS, tmp_path / "splits", copies=True)
    rows = tmp_path / "splits" / "eval" / "rows.jsonl"
    rows.write_text(rows.read_text().replace('"e"', '"f"'))
    with pytest.raises(DataError, match="not as they were written"):
        read_splits(tmp_path / "splits", copies=True)


def test_arrays_of_one_shape_lie_together_and_others_one_by_one(tmp_path: Path) -> None:
    alike = [{"image": np.full((2, 3), at, np.uint8), "label": at} for at in range(4)]
    write_rows(alike, tmp_path / "alike")
    assert sorted(file.name for file in (tmp_path / "alike").iterdir()) == ["image.npy", "rows.jsonl"]
    write_rows([{"image": np.zeros((size, 2))} for size in (1, 2)], tmp_path / "ragged")
    for folder, shapes in (("alike", [(2, 3)] * 4), ("ragged", [(1, 2), (2, 2)])):
        assert [row["image"].shape for row in read_rows(tmp_path / folder)] == shapes
    assert [int(row["image"][0, 0]) for row in read_rows(tmp_path / "alike")] == [0, 1, 2, 3]


def test_a_picture_file_is_copied_where_the_folder_goes_elsewhere_and_named_where_it_stays(tmp_path: Path) -> None:
    picture = tmp_path / "one.png"
    Image.new("RGB", (2, 2), "red").save(picture)
    splits = replace(SPLITS, train=[{"image": picture, "label": 0}])
    for copies in (True, False):
        write_splits(splits, tmp_path / str(copies), copies=copies)
        found = Path(read_splits(tmp_path / str(copies), copies=copies).train[0]["image"])
        assert found.is_relative_to(tmp_path / str(copies)) == copies
        assert found.read_bytes() == picture.read_bytes()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "I;16", "1", "P"])
def test_a_picture_in_memory_keeps_its_mode_and_its_turn(tmp_path: Path, mode: str) -> None:
    drawn = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    whole = Image.fromarray(drawn)
    picture = whole.convert("L").convert(mode) if mode == "I;16" else whole.convert(mode)
    picture.getexif()[0x0112] = 6
    write_rows([{"image": picture}], tmp_path / "rows")
    (row,) = read_rows(tmp_path / "rows")
    with Image.open(row["image"]) as found:
        assert found.mode == mode
        upright = np.asarray(ImageOps.exif_transpose(found).convert("RGB"))
    assert np.array_equal(upright, np.asarray(ImageOps.exif_transpose(picture).convert("RGB")))


def test_a_pack_cannot_name_a_file_outside_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "rows.jsonl").write_text(json.dumps({"image": {"path": "/etc/passwd"}}) + "\n")
    with pytest.raises((DataError, TrustError)):
        read_rows(folder, copies=True)


def test_an_encoded_file_in_memory_comes_back_byte_by_byte(tmp_path: Path) -> None:
    """Its last bytes may be zeros, which an array of bytes would lose."""
    whole = b"RIFF\x00\x01" + bytes(8)
    write_rows([{"audio": whole, "label": "a"}], tmp_path / "rows")
    (row,) = read_rows(tmp_path / "rows")
    assert row["audio"].read_bytes() == whole
