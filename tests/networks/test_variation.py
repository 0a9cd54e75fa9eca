"""A pipeline of diffusers that varies pictures: a tiny one of random weights, saved and loaded as any other."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kd2deploy.errors import ModelError
from kd2deploy.networks.variation import Variation, drawn, read

diffusers = pytest.importorskip("diffusers", reason="the extra diffusion is not installed")


def tiny_unet(**channels: int) -> Any:
    return diffusers.UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        add_attention=False,
        **channels,
    )


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Super-resolution: the smallest pipeline that takes a picture, with noise of its own."""
    torch.manual_seed(0)
    unet = tiny_unet(in_channels=6, out_channels=3)
    decoder = diffusers.VQModel(
        block_out_channels=(8,), norm_num_groups=4, num_vq_embeddings=8, mid_block_add_attention=False
    )
    made = diffusers.LDMSuperResolutionPipeline(vqvae=decoder, unet=unet, scheduler=diffusers.DDIMScheduler())
    folder = tmp_path_factory.mktemp("pipeline")
    made.save_pretrained(folder, safe_serialization=True)
    return folder


def test_every_picture_gets_a_variant_of_its_own_by_the_seed(pipeline: Path) -> None:
    pictures = torch.rand(1, 3, 32, 32).expand(2, -1, -1, -1)
    found = Variation(pipeline, "cpu", seed=1)(pictures, 0.5)
    assert found.shape == pictures.shape
    assert 0 <= found.min() <= found.max() <= 1
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found[:1], Variation(pipeline, "cpu", seed=1)(pictures[:1], 0.5))


def test_pictures_in_grey_stay_so(pipeline: Path) -> None:
    pictures = torch.rand(1, 1, 32, 32)
    found = Variation(pipeline, "cpu")(pictures, 0.5)
    assert found.shape == pictures.shape
    assert not torch.equal(found, pictures)


def test_loading_and_varying_draws_no_bars(pipeline: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Variation(pipeline, "cpu")
    assert capfd.readouterr() == ("", "")


def test_it_says_which_pipeline_it_is(pipeline: Path) -> None:
    assert Variation(pipeline, "cpu").name == "LDMSuperResolutionPipeline"


def test_a_pipeline_that_takes_no_picture_is_refused(tmp_path: Path) -> None:
    diffusers.DDPMPipeline(unet=tiny_unet(), scheduler=diffusers.DDPMScheduler()).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="a DDPMPipeline takes no picture; name a pipeline of image variation"):
        Variation(tmp_path, "cpu")


def test_a_folder_without_a_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model_index\.json"):
        Variation(tmp_path, "cpu")


@pytest.mark.parametrize("shape", [(1, 4, 6), (3, 4, 6)])
def test_pictures_come_back_as_they_were_drawn(shape: tuple[int, ...]) -> None:
    picture: Tensor = torch.randint(0, 256, shape) / 255
    torch.testing.assert_close(read(drawn(picture), picture.shape), picture, atol=1.1 / 255, rtol=0)
