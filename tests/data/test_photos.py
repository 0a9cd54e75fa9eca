"""Pictures to restore, as they lie in folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_restoration import drawn_picture

from kd2deploy.data._tiled_photos import middle_of, tiles
from kd2deploy.data.debian_photos import debian_photos, photos_in
from kd2deploy.data.picture_pairs import picture_pairs
from kd2deploy.data.prepare import prepare
from kd2deploy.data.sample_photos import sample_photos
from kd2deploy.errors import DataError
from kd2deploy.tasks.image_restoration import ImageRestoration

INSTALLED = Path("/usr/share/wallpapers")


def write(folder: Path, *names: str, height: int = 40, width: int = 48) -> Path:
    for place, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn_picture(height, width, place)).save(file)
    return folder


def test_a_folder_of_clean_pictures_is_read_as_its_own_inputs(tmp_path: Path) -> None:
    folder = write(tmp_path / "clean", "b.png", "below/a.png", "._hidden.png")
    (folder / "notes.txt").write_text("no picture")
    found = picture_pairs(str(folder), str(folder))
    assert [Path(row["image"]).name for row in found.train] == ["b.png", "a.png"]
    assert all(row["image"] == row["label"] for row in found.train)
    assert len(found.warnings) == 1
    assert "1 .txt" in found.warnings[0]
    splits = prepare(found, ImageRestoration, {"scale": 2}, validation_share=0.5)
    assert (len(splits.train), len(splits.validation), len(splits.eval)) == (1, 1, 2)
    assert isinstance(splits.train[0]["label"], Path)


def test_inputs_are_paired_by_name_as_data_sets_name_them(tmp_path: Path) -> None:
    clean = write(tmp_path / "clean", "0801.png", "0802.png")
    small = write(tmp_path / "small", "0801x2.png", "0802x2.jpg", height=20, width=24)
    found = picture_pairs(str(clean), str(clean), train_inputs=str(small), eval_inputs=str(small))
    pairs = [(Path(row["image"]).name, Path(row["label"]).name) for row in found.train]
    assert pairs == [("0801x2.png", "0801.png"), ("0802x2.jpg", "0802.png")]


def test_what_has_no_partner_is_named(tmp_path: Path) -> None:
    clean = write(tmp_path / "clean", "a.png", "b.png")
    small = write(tmp_path / "small", "a.png")
    with pytest.raises(DataError, match=r"clean: b has no input of that name in .*small"):
        picture_pairs(str(clean), str(clean), train_inputs=str(small))
    write(tmp_path / "small", "b.png", "c.png", "d.png")
    with pytest.raises(DataError, match=r"small: c, d have no clean picture of that name"):
        picture_pairs(str(clean), str(clean), train_inputs=str(small))
    write(tmp_path / "clean", "a.jpg")
    with pytest.raises(DataError, match="two pictures of one name"):
        picture_pairs(str(clean), str(clean))
    with pytest.raises(DataError, match="is not a folder"):
        picture_pairs(str(tmp_path / "nowhere"), str(clean))


def test_pictures_that_cannot_be_restored_to_are_refused_when_data_are_prepared(tmp_path: Path) -> None:
    folder = write(tmp_path / "clean", "a.png", "b.png", "c.png")
    Image.new("RGB", (20, 20)).save(folder / "b.png")
    with pytest.raises(DataError, match=r"row 2 has .*(too few)"):
        prepare(picture_pairs(str(folder), str(folder)), ImageRestoration, {"scale": 2})


def test_tiles_are_whole_and_cover_what_they_can() -> None:
    photo = drawn_picture(70, 100)
    found = tiles([photo], 32)
    assert len(found) == 2 * 3
    assert np.array_equal(found[4]["image"], photo[32:64, 32:64])
    assert found[0]["image"] is found[0]["label"]
    assert np.array_equal(middle_of(photo, 30, 40), photo[20:50, 30:70])
    assert middle_of(photo, 300, 40).shape == (70, 40, 3)


def installed_so(folder: Path) -> Path:
    """As Debian's two packages lie on a disk: photos, links, sizes side by side, small previews and drawn pictures."""
    names = [f"backgrounds/mate/nature/photo{place}.jpg" for place in range(7)]
    write(folder, *names, height=80, width=96)
    for place in range(3):
        inside = f"wallpapers/Set{place}/contents"
        write(folder, f"{inside}/images/1920x1080.jpg", f"{inside}/images_dark/1920x1080.jpg")
        write(folder, f"{inside}/screenshot.png", f"{inside}/screenshot.jpg")
        Image.fromarray(drawn_picture(120, 160, 50 + place)).save(folder / inside / "images" / "3840x2160.jpg")
    write(folder, "backgrounds/mate/nature/photo0_96x80.jpg", height=80, width=96)
    (folder / "wallpapers" / "Default").symlink_to(folder / "wallpapers" / "Set1")
    (folder / "backgrounds" / "mate" / "link.jpg").symlink_to(folder / names[0])
    return folder


def test_debians_photos_are_read_once_each_and_halved(tmp_path: Path) -> None:
    folder = installed_so(tmp_path / "share")
    found = photos_in(folder)
    assert len(found) == 10
    assert [file.name for file in found if "Set" in str(file)] == ["3840x2160.jpg"] * 3
    assert sum("photo0" in file.name for file in found) == 1
    tables = debian_photos(str(folder), tile=32, height=32, width=32)
    assert (len(tables.eval), len(tables.validation or [])) == (3, 2)
    assert all(row["image"].shape == (32, 32, 3) for row in tables.train)
    assert tables.train[0]["image"] is tables.train[0]["label"]
    assert "10 background photos of Debian: 5 in tiles to train on, 3 to judge by" in tables.about


def test_without_the_packages_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="apt-get install mate-backgrounds"):
        debian_photos(str(tmp_path))


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="plasma-workspace-wallpapers is not installed")
def test_the_installed_photos_are_there() -> None:
    assert len(photos_in(Path("/usr/share"))) >= 9


def test_scikit_learns_photos_are_two() -> None:
    found = sample_photos()
    assert (len(found.train), len(found.eval)) == (32, 16)
    assert found.train[0]["image"].shape == (104, 104, 3)
    assert not np.array_equal(found.train[0]["image"], found.eval[0]["image"])
    with pytest.raises(DataError, match="tile is 32 to 208"):
        sample_photos(tile=8)
