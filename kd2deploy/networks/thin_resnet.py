"""Thin residual networks for small pictures, which transformers has none of: a stem without strides and three stages.

Sources: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, arXiv:1512.03385, section 4.2 (the
ResNets of 20 to 110 layers: stages of 3 to 18 blocks, 16, 32 and 64 wide); Zagoruyko, Komodakis, "Wide Residual
Networks", 2016, arXiv:1605.07146 (`preactivated`: normalization and ReLU stand before each convolution).
Departs from them: where a block changes its width, its input goes through a convolution of 1 x 1, in the first kind
with a normalization, as benchmarks of distillation have it (He et al. fill up with zeros). No dropout.
"""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from kd2deploy.core.own import THIN_RESNET


class ThinResNetConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    model_type = THIN_RESNET

    def __init__(
        self,
        num_channels: int = 3,
        stem: int = 16,
        widths: Sequence[int] = (16, 32, 64),
        depths: Sequence[int] = (3, 3, 3),
        preactivated: bool = False,
        **others: Any,
    ) -> None:
        self.num_channels, self.stem, self.preactivated = num_channels, stem, preactivated
        self.widths, self.depths = list(widths), list(depths)
        if len(self.widths) != len(self.depths):
            raise ValueError(f"widths and depths name as many stages, got {self.widths} and {self.depths}")
        super().__init__(**others)


class ThinResNetForImageClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Logits of the mean over the last stage's positions. Its hidden states are the stem's and each stage's maps."""

    config_class = ThinResNetConfig
    base_model_prefix = "thin_resnet"
    main_input_name = "pixel_values"

    def __init__(self, config: ThinResNetConfig) -> None:
        super().__init__(config)
        kind = Preactivated if config.preactivated else Plain
        self.stem = nn.Conv2d(config.num_channels, config.stem, 3, padding=1, bias=False)
        self.stem_norm = nn.Identity() if config.preactivated else nn.BatchNorm2d(config.stem)
        stages, read = [], config.stem
        for number, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            strides = [1 if number == 0 else 2, *(1 for _ in range(depth - 1))]
            reads = [read, *(width for _ in range(depth - 1))]
            stages.append(nn.Sequential(*(kind(one, width, by) for one, by in zip(reads, strides, strict=True))))
            read = width
        self.stages = nn.ModuleList(stages)
        self.last_norm = nn.BatchNorm2d(read) if config.preactivated else nn.Identity()
        self.classifier = nn.Linear(read, int(config.num_labels or 2))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5)
            nn.init.zeros_(module.bias)

    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, **_: Any
    ) -> ImageClassifierOutputWithNoAttention:
        """Pictures [B, C, H, W] to logits [B, K]; hidden states are [B, D, H, W]."""
        maps = self.stem_norm(self.stem(pixel_values))
        maps = maps if self.config.preactivated else maps.relu()
        states = [maps]
        for stage in self.stages:
            maps = stage(maps)
            states.append(maps)
        maps = self.last_norm(maps).relu()  # which leaves a plain block's as they are
        logits = self.classifier(maps.mean((-2, -1)))
        return ImageClassifierOutputWithNoAttention(
            logits=logits, hidden_states=tuple(states) if output_hidden_states else None
        )


class Plain(nn.Module):
    """Convolution and normalization twice, added to the input, then ReLU."""

    def __init__(self, read: int, made: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(read, made, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(made)
        self.second = nn.Conv2d(made, made, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(made)
        around: list[nn.Module] = [nn.Conv2d(read, made, 1, stride, bias=False), nn.BatchNorm2d(made)]
        self.around = nn.Identity() if (read, stride) == (made, 1) else nn.Sequential(*around)

    def forward(self, maps: Tensor) -> Tensor:
        found = self.second_norm(self.second(F.relu(self.first_norm(self.first(maps)))))
        return F.relu(found + self.around(maps))


class Preactivated(nn.Module):
    """Normalization, ReLU and convolution twice, added to the input: where its width changes, to what its first two of
    these make of it, through a convolution."""

    def __init__(self, read: int, made: int, stride: int) -> None:
        super().__init__()
        self.first_norm = nn.BatchNorm2d(read)
        self.first = nn.Conv2d(read, made, 3, stride, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(made)
        self.second = nn.Conv2d(made, made, 3, 1, 1, bias=False)
        self.around = nn.Conv2d(read, made, 1, stride, bias=False) if read != made else None

    def forward(self, maps: Tensor) -> Tensor:
        active = F.relu(self.first_norm(maps))
        found: Tensor = self.second(F.relu(self.second_norm(self.first(active))))
        return found + (maps if self.around is None else self.around(active))
