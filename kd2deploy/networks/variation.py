"""A pipeline of diffusers that varies pictures: image variation, image to image, or whatever takes an `image`.

It is loaded from safetensors and without remote code, like any network. Which steps it makes is its own business.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kd2deploy.core.members import PIPELINE
from kd2deploy.errors import ModelError
from kd2deploy.networks.foreign import refused_as

EXTRA = "pip install 'kd2deploy[diffusion]'"


class Variation:
    """The pipeline in a folder. Raises ModelError where that is none, or takes no picture."""

    def __init__(self, folder: Path, device: str, seed: int = 0) -> None:
        if not (folder / PIPELINE).is_file():
            raise ModelError(f"{folder} has no {PIPELINE}, so it is no pipeline of diffusers; name the folder of one")
        try:
            from diffusers import DiffusionPipeline
        except ImportError as error:
            raise ModelError(f"a variation model is run by diffusers; {EXTRA}") from error
        kind: Any = DiffusionPipeline  # its methods are not annotated
        with refused_as(f"{folder} cannot be loaded by diffusers"), without_bars():
            self.pipeline: Any = kind.from_pretrained(
                str(folder), use_safetensors=True, local_files_only=True, trust_remote_code=False
            ).to(device)
        self.takes = frozenset(inspect.signature(self.pipeline.__call__).parameters)
        if "image" not in self.takes:
            raise ModelError(
                f"{folder}: a {type(self.pipeline).__name__} takes no picture; name a pipeline of image variation or "
                "image to image"
            )
        self.pipeline.set_progress_bar_config(disable=True)
        self.noise = torch.Generator().manual_seed(seed)

    @property
    def name(self) -> str:
        return type(self.pipeline).__name__

    def __call__(self, pictures: Tensor, strength: float) -> Tensor:
        """One variant of each picture [B, C, H, W] in 0..1, of its size; `strength` where the pipeline takes it.

        One after the other: some pipelines take several at a time, and some do not.
        """
        known = {name: value for name, value in (("prompt", ""), ("strength", strength)) if name in self.takes}
        found = []
        for one in pictures:
            with refused_as(f"{self.name} cannot vary this picture"):
                made = self.pipeline(image=drawn(one), generator=self.noise, **known).images[0]
            found.append(read(made, one.shape))
        return torch.stack(found).to(pictures.device)


@contextmanager
def without_bars() -> Iterator[None]:
    """Without diffusers' progress bars."""
    from diffusers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()


def drawn(picture: Tensor) -> Any:
    """A picture [C, H, W] in 0..1 as Pillow's, in colours."""
    from PIL import Image

    found = (picture.clamp(0, 1) * 255).round().byte().cpu().permute(1, 2, 0).numpy()
    return Image.fromarray(found[..., 0] if found.shape[-1] == 1 else found).convert("RGB")


def read(picture: Any, shape: torch.Size) -> Tensor:
    """Pillow's picture as [C, H, W] in 0..1, of another size."""
    import numpy as np
    from PIL import Image

    channels, height, width = shape
    fitting = picture.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BICUBIC)
    found = torch.from_numpy(np.asarray(fitting, dtype=np.float32) / 255)
    return found[None] if channels == 1 else found.permute(2, 0, 1)
