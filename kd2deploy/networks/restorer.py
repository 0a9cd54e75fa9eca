"""A small convolutional network that restores pictures: residual blocks at the input's size, enlarged at the end.

As EDSR without its long tail (Lim, Son, Kim, Nah, Lee, "Enhanced Deep Residual Networks for Single Image
Super-Resolution", 2017, arXiv:1707.02921), with one convolution before the pixels are shuffled. It learns what bicubic
interpolation lacks, so its first answer is that of the interpolation; of a picture that keeps its size, the picture.
Configuration and network are like those of transformers, so that they are loaded, trained, saved and counted as any.
"""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageSuperResolutionOutput

from kd2deploy.core.own import RESTORER

GREY = 0.5
"""The middle of what pixels are: what the first convolution reads is about zero."""
QUIET = 0.1
"""Of a block's usual weights at first: many blocks do not add up to much."""


class RestorerConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    model_type = RESTORER
    attribute_map: ClassVar[dict[str, str]] = {"hidden_size": "channels", "num_hidden_layers": "blocks"}

    def __init__(
        self, channels: int = 32, blocks: int = 6, upscale: int = 2, num_channels: int = 3, **others: Any
    ) -> None:
        self.channels, self.blocks, self.upscale, self.num_channels = channels, blocks, upscale, num_channels
        super().__init__(**others)


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, state: Tensor) -> Tensor:
        found: Tensor = state + self.second(F.relu(self.first(state)))
        return found


class RestorerForImageToImage(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Pictures [B, C, H * upscale, W * upscale] of pictures [B, C, H, W], both in 0..1."""

    config_class = RestorerConfig
    base_model_prefix = "restorer"
    main_input_name = "pixel_values"

    def __init__(self, config: RestorerConfig) -> None:
        super().__init__(config)
        wide, planes = config.channels, config.num_channels
        self.stem = nn.Conv2d(planes, wide, 3, padding=1)
        self.body = nn.ModuleList(Block(wide) for _ in range(config.blocks))
        self.merge = nn.Conv2d(wide, wide, 3, padding=1)
        self.tail = nn.Conv2d(wide, planes * config.upscale**2, 3, padding=1)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=1)
            if module is self.tail:
                nn.init.zeros_(module.weight)
            elif any(module is block.second for block in self.body):
                module.weight.data.mul_(QUIET)
            assert module.bias is not None
            nn.init.zeros_(module.bias)

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, return_dict: bool = True, **_: Any
    ) -> ImageSuperResolutionOutput:
        """`hidden_states` are the maps [B, channels, H, W] of the stem and after each block."""
        state = self.stem(pixel_values - GREY)
        hidden = [state]
        for block in self.body:
            hidden.append(block(hidden[-1]))
        lacking = self.tail(self.merge(hidden[-1]) + state)
        times = self.config.upscale
        base = pixel_values
        if times > 1:
            lacking = F.pixel_shuffle(lacking, times)
            base = F.interpolate(pixel_values, scale_factor=float(times), mode="bicubic", align_corners=False)
        return ImageSuperResolutionOutput(
            reconstruction=base + lacking, hidden_states=tuple(hidden) if output_hidden_states else None
        )
