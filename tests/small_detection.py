"""Detection for the methods' contract: small random YOLOS networks in memory, and scenes as they read them."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tiny_detectors import SHAPES, made_rows, small_task
from torch import nn

from kd2deploy.core import Features
from kd2deploy.tasks.object_detection import ObjectDetection

SIDE = 32


def detection_task() -> ObjectDetection:
    return small_task(height=SIDE, width=SIDE)


def yolos(hidden: int = 16, layers: int = 1, *, seed: int = 0, dropout: float = 0.0) -> Any:
    """Eight queries over 16 patches; weights wide enough that answers depend on what is read."""
    from transformers import YolosConfig, YolosForObjectDetection

    config = YolosConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        num_detection_tokens=8,
        patch_size=8,
        image_size=[SIDE, SIDE],
        use_mid_position_embeddings=False,
        hidden_dropout_prob=dropout,
        id2label=dict(enumerate(SHAPES)),
        label2id={name: place for place, name in enumerate(SHAPES)},
    )
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(seed)
        net = YolosForObjectDetection(config)
        for weight in net.parameters():
            if weight.dim() == 2:
                weight.copy_(torch.randn_like(weight) * weight.shape[1] ** -0.5)
            elif weight.dim() == 4:
                nn.init.kaiming_normal_(weight)
    return net.eval()


@cache
def scene_rows(count: int) -> Sequence[Features]:
    with TemporaryDirectory() as place:
        reader = detection_task().reader
        yolos().save_pretrained(place)
        reader.write_inputs(Path(place))
        return reader.encode(made_rows(count), Path(place))
