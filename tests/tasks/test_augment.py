"""What augmentation does to a picture, and that nothing else of it is read than its own draw."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import save_image_net, save_image_processor

from kd2deploy.core import Draw, Selection, augmentation, augmentation_of, drawn
from kd2deploy.tasks._augment import OPERATIONS, Augment, part
from kd2deploy.tasks.image_classification import ImageClassification

LABELS = ["zero", "one", "two"]
NOISE = np.random.default_rng(0).integers(0, 256, (20, 18, 3), dtype=np.uint8)
ALL = {"resized_crop": [0.3, 1.0], "padded_crop": 2, "flip": 0.5, "rotate": 15, "randaugment": 2}


def changed(given: dict[str, Any], picture: Image.Image, seed: int = 0) -> "np.ndarray[Any, Any]":
    found = augmentation(ImageClassification.reads, given)
    return np.asarray(found.applied(picture, np.random.default_rng(seed)))


def test_left_and_right_are_exchanged_as_often_as_it_says() -> None:
    picture = Image.fromarray(NOISE)
    assert np.array_equal(changed({"flip": 1.0}, picture), NOISE[:, ::-1])
    turned = sum(not np.array_equal(changed({"flip": 0.25}, picture, seed), NOISE) for seed in range(400))
    assert 70 <= turned <= 130


def test_a_padded_crop_shifts_and_lets_black_in() -> None:
    seen = set()
    for seed in range(100):
        found = changed({"padded_crop": 2}, Image.fromarray(NOISE), seed)
        assert found.shape == NOISE.shape
        wide = np.pad(NOISE, ((2, 2), (2, 2), (0, 0)))
        seen |= {
            (down, right)
            for down in range(5)
            for right in range(5)
            if np.array_equal(found, wide[down:, right:][:20, :18])
        }
    assert seen == {(down, right) for down in range(5) for right in range(5)}


def test_a_part_has_its_share_of_the_area_and_no_odd_shape() -> None:
    draws = np.random.default_rng(0)
    for _ in range(300):
        left, top, right, bottom = part((400, 300), (0.1, 0.5), draws)
        assert 0 <= left < right <= 400
        assert 0 <= top < bottom <= 300
        assert 0.097 < (right - left) * (bottom - top) / 120_000 < 0.51
        assert 0.73 < (right - left) / (bottom - top) < 1.36
    assert part((1, 1), (0.1, 0.2), draws) == (0, 0, 1, 1)
    assert part((1000, 2), (1.0, 1.0), draws) == (0, 0, 1000, 2), "no part fits, so all of it"


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_size_and_mode_and_does_more_the_higher_the_magnitude(name: str, mode: str) -> None:
    base = np.random.default_rng(3).integers(30, 200, (24, 24, 3), dtype=np.uint8)
    picture = Image.fromarray(base).convert(mode)

    def moved(share: float) -> float:
        found = OPERATIONS[name](picture, share, 1)
        assert (found.size, found.mode) == (picture.size, mode)
        return float(np.abs(np.asarray(found).astype(int) - np.asarray(picture)).mean())

    off, half, full = moved(0.0), moved(0.5), moved(1.0)
    if name in ("autocontrast", "equalize"):
        assert off == half == full > 0
    elif name == "identity" or (name == "color" and mode == "L"):
        assert off == half == full == 0
    else:
        assert off < 1
        assert off <= half < full


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 3)])
def test_pictures_of_any_size_come_through(size: tuple[int, int]) -> None:
    for mode in ("L", "RGB"):
        for seed in range(30):
            found = changed({**ALL, "randaugment": 4}, Image.new(mode, size, 77), seed)
            assert found.dtype == np.uint8
            assert found.size > 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "names nothing that is done"),
        ({"magnitude": 0.5}, "names nothing that is done"),
        ({"flip": 1.5}, "flip is a probability"),
        ({"flip": "often"}, "augment.flip: .*often"),
        ({"flop": 0.5}, "augment.flop: .*did you mean 'flip'"),
        ({"resized_crop": [0.0, 1.0]}, "resized_crop is two shares"),
        ({"resized_crop": 0.5}, "augment.resized_crop"),
        ({"rotate": 200}, "rotate is from 0 to 180"),
        ({"randaugment": 2, "magnitude": 9}, "magnitude is a share"),
        ({"padded_crop": -1}, "padded_crop is from 0"),
        ("flip", "is a mapping"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_name(given: Any, words: str) -> None:
    _, faults = augmentation_of(ImageClassification.reads, given)
    assert len(faults) == 1
    import re

    assert re.search(words, str(faults[0])), faults


def test_a_row_is_augmented_by_its_draw_alone(tmp_path: Path) -> None:
    save_image_net(tmp_path, "resnet", channels=3)
    reader = ImageClassification(LABELS).at(tmp_path).reader
    rows = [{"image": np.roll(NOISE, seed, 0), "label": seed % 3, "index": seed} for seed in range(4)]
    kept = Selection(reader.drawing(rows, tmp_path))
    how = augmentation(type(reader), ALL)

    def pixels(place: int, *draw: int) -> bytes:
        return bytes(drawn(kept, place, how, Draw(*draw))["pixel_values"].tobytes())

    assert pixels(1, 3, 2, 1) == pixels(1, 3, 2, 1)
    others = [(4, 2, 1), (3, 3, 1), (3, 2, 2), (3, 2, 1, 1)]
    assert len({pixels(1, *draw) for draw in [(3, 2, 1), *others]}) == 5, "seed, epoch, row and number all count"
    plain = reader.encode(rows, tmp_path)
    assert all(np.array_equal(kept[at]["pixel_values"], plain[at]["pixel_values"]) for at in range(4))
    assert [row["labels"] for row in kept] == [row["labels"] for row in plain]


def test_teacher_and_student_of_other_sizes_and_channels_see_one_augmented_picture(tmp_path: Path) -> None:
    for name, size, channels in (("student", 16, 1), ("teacher", 32, 3)):
        save_image_net(tmp_path / name, "resnet", size=size, channels=channels)
        save_image_processor(tmp_path / name, size)
    reader = ImageClassification(LABELS).at(tmp_path / "student").reader
    blocks = np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    rows = [{"image": blocks, "label": 0}]
    kept = Selection(reader.drawing(rows, tmp_path / "student"), teacher=reader.drawing(rows, tmp_path / "teacher"))
    how = augmentation(type(reader), {"resized_crop": [0.3, 0.6], "flip": 0.5, "rotate": 20})
    plain = kept[0]["pixel_values"][0].astype(float)
    for epoch in range(8):
        row = drawn(kept, 0, how, Draw(0, epoch, 0))
        assert (row["pixel_values"].shape, row["teacher.pixel_values"].shape) == ((1, 16, 16), (3, 32, 32))
        own = row["pixel_values"][0].astype(float)
        grey = row["teacher.pixel_values"].transpose(1, 2, 0) @ [0.299, 0.587, 0.114]
        halved = grey.reshape(16, 2, 16, 2).mean((1, 3))
        assert np.corrcoef(own.ravel(), halved.ravel())[0, 1] > 0.97
        assert np.corrcoef(own.ravel(), plain.ravel())[0, 1] < 0.9


def test_where_nothing_is_resized_a_part_is_brought_back_to_the_size_it_was_cut_from(tmp_path: Path) -> None:
    import json

    save_image_net(tmp_path, "resnet", channels=3)
    said = {"image_processor_type": "ViTImageProcessor", "do_resize": False, "do_center_crop": True, "crop_size": 16}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**said, "image_mean": [0.5], "image_std": [0.5]}))
    reader = ImageClassification(LABELS).at(tmp_path).reader
    kept = reader.drawing([{"image": np.full((16, 16, 3), 200, dtype=np.uint8), "label": 0}], tmp_path)
    row = drawn(kept, 0, Augment(resized_crop=(0.2, 0.3)), Draw(0, 0, 0))
    assert row["pixel_values"].min() == 200, "no black border"


def test_rows_that_are_kept_as_they_are_read_cannot_be_augmented() -> None:
    with pytest.raises(ValueError, match=r"read them by Reader\.drawing"):
        drawn([{"labels": 0}], 0, Augment(flip=1.0), Draw(0, 0, 0))
