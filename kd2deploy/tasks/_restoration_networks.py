"""Networks that restore pictures, transformers' and ours: how they are loaded, run and deployed."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Batch, Observation, TaskNetworks
from kd2deploy.core.members import members_in
from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.folder import check_folder, network
from kd2deploy.tasks._image_networks import flattened

HEADS = ("tail", "upsample", "final_convolution")
"""What follows the last features, by the names that networks have for it."""
TRACED_SIDE = 48
"""Pixels a side of what is traced, unless another is asked for."""


class RestorationNetworks(TaskNetworks):
    """Networks that answer a picture `scale` times as large."""

    auto = "AutoModelForImageToImage"

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def load(self, folder: Path) -> nn.Module:
        if members_in(folder) is not None:
            raise ModelError(
                f"{folder} holds several networks, which restore no picture together; name one of them alone"
            )
        net = network(self.auto, folder)
        self.check_scale(read_config(folder), folder)
        return net

    def check_scale(self, config: dict[str, Any], folder: Path) -> None:
        """Raises ModelError where a network answers pictures of another size, or of other channels."""
        times, planes = config.get("upscale", 2), config.get("num_channels_out") or config.get("num_channels", 3)
        if times != self.scale:
            raise ModelError(
                f"{folder} enlarges {times} times, and the task {self.scale} times; set `scale: {times}` of the task, "
                "or give another network"
            )
        if (config.get("num_channels", 3), planes) != (3, 3):
            raise ModelError(f"{folder} reads or answers other than three channels; pictures are restored in colour")

    def fresh(self) -> dict[str, Any]:
        upsampler = "pixelshuffledirect" if self.scale > 1 else ""
        return {"upscale": self.scale, "num_channels": 3, "upsampler": upsampler}

    def check_pair(self, teacher: Path, student: Path) -> None:
        for folder in (teacher, student):
            check_folder(folder)
            self.check_scale(read_config(folder), folder)

    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        """Values [B, 3, H, W] in about 0..1; the embedding is the mean of the last features over the picture."""
        inner = bool(needs & {"hidden", "embedding"})
        values, hidden = restored(net, batch["pixel_values"], inner)
        labels = batch.get("labels")
        return Observation(
            values=values,
            hidden=hidden if "hidden" in needs else (),
            embedding=hidden[-1].mean(1) if "embedding" in needs and hidden else None,
            loss=None if labels is None else mean_distance(values, labels),
        )

    def head(self, net: nn.Module) -> nn.Module:
        found = next((getattr(net, name) for name in HEADS if isinstance(getattr(net, name, None), nn.Module)), None)
        if found is None:
            raise ModelError(f"a {type(net).__name__} has no layer after its last features that is known by name")
        assert isinstance(found, nn.Module)
        return found

    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        return "pixel_values", batch["pixel_values"]

    def turned(self, batch: Batch, quarters: int) -> Batch | None:
        """Its target is turned as well."""
        turns = {name: batch[name].rot90(quarters, (-2, -1)) for name in ("pixel_values", "labels") if name in batch}
        return batch | turns

    def deployed(self, net: nn.Module) -> nn.Module:
        return Deployed(net)

    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
        """Pixels evenly spread over 0..1."""
        shape = (batch, 3, sizes.get("height", TRACED_SIDE), sizes.get("width", TRACED_SIDE))
        return {"pixel_values": torch.rand(shape, generator=torch.Generator().manual_seed(0))}


class Deployed(nn.Module):
    """Positional pixels, a tuple with the restored picture in 0..1."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixel_values: Tensor) -> tuple[Tensor]:
        return (restored(self.net, pixel_values)[0].clamp(0.0, 1.0),)


def restored(
    net: nn.Module, pixels: Float[Tensor, "B 3 h w"], inner: bool = False
) -> tuple[Float[Tensor, "B 3 H W"], tuple[Tensor, ...]]:
    """The answer, of the input's size times the scale, and with `inner` the hidden states, each [B, L, D].

    A network of windows reads whole ones alone: the picture is filled up with its last row and column, and the answer
    cut. Its hidden states are of the picture as it was filled up.
    """
    config: Any = net.config
    height, width = pixels.shape[-2:]
    seen = net(pixel_values=windowed(pixels, config), output_hidden_states=inner, return_dict=True)
    values: Tensor = seen.reconstruction[..., : height * config.upscale, : width * config.upscale]
    return values, tuple(map(flattened, seen.hidden_states)) if inner else ()


def windowed(pixels: Float[Tensor, "B 3 h w"], config: Any) -> Float[Tensor, "B 3 H W"]:
    """Filled up to whole windows at the bottom and the right, where a network has some."""
    window = getattr(config, "window_size", None)
    if window is None:
        return pixels
    places = []
    for axis in (-2, -1):
        size = pixels.shape[axis]
        # an index in place of padding: all exporters make the same of it, also where sizes are not known
        whole = (size + window - 1) // window * window
        places.append(torch.arange(whole, device=pixels.device).clamp(max=size - 1))
    return pixels[:, :, places[0]][:, :, :, places[1]]


def mean_distance(values: Float[Tensor, "B 3 H W"], targets: Float[Tensor, "B 3 H W"]) -> Float[Tensor, ""]:
    """Mean absolute difference over the rows that have a target; 0 where none has."""
    known = targets.isfinite().flatten(1).all(1)
    if not known.any():
        return values.sum() * 0
    return F.l1_loss(values[known], targets[known])
