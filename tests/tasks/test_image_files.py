"""Pictures as users have them: on their side, deep, transparent, animated, broken."""

import io
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tasks.odd_pictures import HEIGHT, WIDTH, odd_pictures

from kd2deploy.errors import DataError
from kd2deploy.networks.image_processor import Processor
from kd2deploy.tasks._images import opened, pixels, unreadable

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pictures")
    odd_pictures(place)
    return place


def seen(file: Path, channels: int = 3) -> Array:
    return np.asarray(opened({"image": str(file)}, channels))


def test_a_text_where_a_file_should_be_is_not_shown_in_full() -> None:
    found = unreadable("a long text " * 9999 + "without a file")
    assert "without a file" in found
    assert len(found) < 600
    assert unreadable("pictures/gone.png") == "pictures/gone.png is no file that can be read"


def test_a_phones_picture_stands_upright_from_every_source(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20))
    picture.paste((255, 0, 0), (0, 0, 20, 20))  # the left half is red, and shown turned by 90 degrees it is the top
    tags = Image.Exif()
    tags[0x0112] = 6
    picture.save(tmp_path / "phone.jpg", exif=tags, quality=95)
    stored = (tmp_path / "phone.jpg").read_bytes()
    for form in (str(tmp_path / "phone.jpg"), stored, Image.open(io.BytesIO(stored))):
        found = np.asarray(opened({"image": form}, 3)).astype(int)
        assert found.shape == (40, 20, 3)
        assert found[:16, :, 0].min() > 200
        assert found[24:].max() < 60


def test_datasets_turns_a_picture_alike(folder: Path) -> None:
    import datasets

    stored = datasets.Dataset.from_dict({"image": [str(folder / "phone.jpg")]}).cast_column("image", datasets.Image())
    theirs = stored[0]["image"]
    assert np.array_equal(np.asarray(opened({"image": theirs}, 3)), seen(folder / "phone.jpg"))
    assert np.array_equal(np.asarray(theirs.convert("RGB")), seen(folder / "phone.jpg"))


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_greys_of_16_bits_keep_their_upper_byte(name: str, folder: Path) -> None:
    with Image.open(folder / name) as stored:
        deep = np.asarray(stored)
    assert deep.max() > 60000
    assert np.array_equal(seen(folder / name, 1), deep >> 8)
    assert np.array_equal(seen(folder / name)[..., 1], deep >> 8)


def test_pixels_whose_range_is_unknown_are_refused(tmp_path: Path) -> None:
    for mode in ("I", "F", "LAB"):
        file = tmp_path / f"{mode}.tif"
        Image.new(mode, (4, 4)).save(file)
        with pytest.raises(DataError, match=f"row 3: .*{mode}.tif holds"):
            opened({"image": str(file), "index": 3}, 3)
        assert "holds" in unreadable(str(file))


def test_what_is_stored_otherwise_is_read_as_its_colours(folder: Path) -> None:
    colour = seen(folder / "colour.png")
    with Image.open(folder / "palette.gif") as stored:
        palette = np.asarray(stored.convert("RGB"))
    assert np.array_equal(seen(folder / "clear.png"), colour), "transparency is dropped: the colour under it counts"
    assert np.array_equal(seen(folder / "clear_grey.png", 1), seen(folder / "grey.png", 1))
    assert np.array_equal(seen(folder / "palette.png"), palette)
    assert np.array_equal(seen(folder / "moving.gif"), seen(folder / "palette.gif")), "the first frame"
    assert set(np.unique(seen(folder / "bits.tif", 1))) == {0, 255}
    ink = np.abs(seen(folder / "print.jpg").astype(int) - colour)
    assert ink.mean() < 60, "JPEG loses much of noise; its negative would lie 85 off"
    for file in folder.iterdir():
        assert not unreadable(str(file)), file
        assert sorted(seen(file).shape) == [3, HEIGHT, WIDTH]


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says that it has 40,000 x 40,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    size = (40_000).to_bytes(4, "big")
    head = chunk(b"IHDR", size + size + bytes([8, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb())
    with pytest.raises(DataError, match=r"row 1: .*bomb.png is not a picture that can be read .*decompression bomb"):
        opened({"image": str(tmp_path / "bomb.png"), "index": 1}, 3)
    assert "decompression bomb" in unreadable(bomb())


def test_a_picture_that_ends_early_is_found_without_an_encoding(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        whole = file.read_bytes()
        cut = tmp_path / file.name
        cut.write_bytes(whole[: len(whole) * 2 // 3])
        if file.name != "moving.gif":  # whose first frame is whole
            assert file.name in unreadable(str(cut)), file.name
            with pytest.raises(DataError):
                opened({"image": str(cut)}, 3)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", "absent.png", ".", "nul\0.png"):
        assert "no file" in unreadable(str(tmp_path / name)) or "embedded null" in unreadable(str(tmp_path / name))
    assert "uint8" in unreadable(np.zeros((0, 4), dtype=np.uint8))
    assert "uint8" in unreadable(np.zeros((4, 4)))


def test_damaged_bytes_give_a_reason_and_no_traceback(folder: Path) -> None:
    drawn = np.random.default_rng(0)
    refused = 0
    for file in sorted(folder.iterdir()):
        whole = np.frombuffer(file.read_bytes(), dtype=np.uint8)
        for _ in range(40):
            broken = whole.copy()
            places = drawn.integers(0, min(len(broken), 400), 3)
            broken[places] = drawn.integers(0, 256, 3)
            refused += bool(unreadable(broken.tobytes()))
    assert refused > 50


def test_a_line_of_pixels_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    reader = Processor(None, 224, (224, 224), 2, (0.0,), (1.0,))
    with pytest.raises(DataError, match="row 0: a picture of 1 x 30000 pixels is too long"):
        pixels({"image": np.zeros((30_000, 1), dtype=np.uint8), "index": 0}, reader, 1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "LA", "PA", "YCbCr", "HSV", "RGBX"])
def test_a_single_point_is_a_picture_of_any_kind(mode: str) -> None:
    for how in (Processor((8, 8), None, None, 2, (0.0,), (1.0,)), Processor(None, 9, (8, 8), 2, (0.0,), (1.0,))):
        for channels in (1, 3):
            found = pixels({"image": Image.new(mode, (1, 1))}, how, channels)
            assert found.shape == (channels, 8, 8)
            assert len(np.unique(found.reshape(channels, -1), axis=1).T) == 1


@pytest.mark.parametrize("mode", ["I", "F", "LAB", "La", "RGBa"])
def test_what_has_no_rule_is_refused_and_named(mode: str) -> None:
    with pytest.raises(DataError, match="row 5: the picture holds"):
        opened({"image": Image.new(mode, (4, 4)), "index": 5}, 3)


def deep_colours() -> bytes:
    """A PNG of 2 x 1 points with 16 bits per colour, which Pillow reads and does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    head = (2).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    points = [0x1234, 0x80FF, 0xFFFF, 0x00FF, 0x0100, 0x7F00]
    line = bytes([0]) + b"".join(value.to_bytes(2, "big") for value in points)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(line)) + chunk(b"IEND", b"")


def test_colours_of_16_bits_keep_their_upper_byte() -> None:
    found = np.asarray(opened({"image": deep_colours()}, 3))
    assert found.tolist() == [[[0x12, 0x80, 0xFF], [0x00, 0x01, 0x7F]]]
