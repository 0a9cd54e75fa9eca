"""Pictures made of numbers, and read again as the same numbers; the networks that make them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_image_net

from kd2deploy.tasks._image_reader import ImageReader
from kd2deploy.tasks._made_pictures import Denoiser, Generator
from kd2deploy.tasks.image_classification import ImageClassification

LABELS = ["zero", "one", "two"]
PROCESSORS: dict[str, dict[str, Any]] = {
    "stretched": {"size": {"height": 16, "width": 16}, "image_processor_type": "ViTImageProcessor"},
    "stretched and cropped": {
        "size": {"height": 21, "width": 20},
        "do_center_crop": True,
        "crop_size": {"height": 16, "width": 16},
        "image_processor_type": "CLIPImageProcessor",
    },
    "its shorter side": {
        "size": {"shortest_edge": 19},
        "do_center_crop": True,
        "crop_size": {"height": 16, "width": 16},
        "image_processor_type": "CLIPImageProcessor",
    },
}


def saved(folder: Path, processor: dict[str, Any], channels: int) -> Path:
    save_image_net(folder, "resnet", channels=channels)
    described = {"do_resize": True, "resample": 2, "image_mean": [0.5], "image_std": [0.25], "do_normalize": True}
    described |= {"do_rescale": True, "rescale_factor": 1 / 255, **processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(described))
    return folder


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PROCESSORS)
def test_rows_are_read_as_what_they_were_made_of(name: str, channels: int, tmp_path: Path) -> None:
    folder = saved(tmp_path, PROCESSORS[name], channels)
    reader = ImageClassification(LABELS).at(folder).reader
    stored = np.random.default_rng(0).integers(0, 256, (2, channels, 16, 16))
    rows = reader.rows_of((stored / 255).astype(np.float32), folder)
    read = reader.feed(reader.encode(rows, folder))["pixel_values"]
    np.testing.assert_allclose(read, (stored / 255 - 0.5) / 0.25, atol=1e-4)
    assert all(row["label"] is None for row in rows)


def test_all_pictures_lie_between_black_and_white(tmp_path: Path) -> None:
    folder = saved(tmp_path, PROCESSORS["stretched"], 3)
    reader = ImageClassification(LABELS).at(folder).reader
    black, white = reader.feed(reader.encode(reader.extremes(), folder))["pixel_values"]
    np.testing.assert_allclose(black, -2, atol=1e-5)
    np.testing.assert_allclose(white, 2, atol=1e-5)


def test_values_beyond_the_range_are_cut(tmp_path: Path) -> None:
    reader = ImageClassification(LABELS).at(saved(tmp_path, PROCESSORS["stretched"], 1)).reader
    assert isinstance(reader, ImageReader)
    below, above = reader.rows_of(np.stack([np.full((1, 16, 16), -0.5), np.full((1, 16, 16), 1.5)]), tmp_path)
    assert not below["image"].any()
    assert (above["image"] == 255).all()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 9, 13)])
def test_both_networks_keep_the_pictures_size(shape: tuple[int, int, int]) -> None:
    made = Generator(shape, 7)(torch.randn(2, 7)).detach()
    assert made.shape == (2, *shape)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1
    assert Denoiser(shape[0])(made, torch.rand(2)).shape == (2, *shape)


def test_the_denoiser_is_told_the_share_of_noise() -> None:
    torch.manual_seed(0)
    denoiser, pictures = Denoiser(1).eval(), torch.rand(1, 1, 8, 8)
    one, other = (denoiser(pictures, torch.tensor([share])) for share in (0.1, 0.9))
    assert not torch.allclose(one, other)
