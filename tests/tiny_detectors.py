"""Tiny random detectors of every supported family, saved as a user's folders are, and scenes to show them."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from kd2deploy.data.sample_scenes import SHAPES, sample_scenes
from kd2deploy.tasks.object_detection import ObjectDetection
from kd2deploy.train.checkpoint import create

SIDE, QUERIES = 64, 8
RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "layer_type": "basic",
    "out_features": ["stage2"],
}
DETR: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_queries": QUERIES,
    "backbone_config": RESNET,
}
TWO_MAPS: dict[str, Any] = {
    "d_model": 32,
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [16, 32],
    "feat_strides": [8, 16],
    "encoder_layers": 1,
    "encoder_ffn_dim": 48,
    "encoder_attention_heads": 2,
    "encode_proj_layers": [1],
    "num_queries": QUERIES,
    "decoder_in_channels": [32, 32],
    "decoder_ffn_dim": 48,
    "num_feature_levels": 2,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "num_denoising": 4,
    "freeze_backbone_batch_norms": False,
    "backbone_config": {
        "model_type": "rt_detr_resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 32],
        "depths": [1, 1, 1],
        "layer_type": "basic",
        "out_features": ["stage2", "stage3"],
    },
}
HGNET = {
    "model_type": "hgnet_v2",
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 16],
    "stage_mid_channels": [8, 8],
    "stage_out_channels": [16, 32],
    "stage_num_blocks": [1, 1],
    "stage_downsample": [False, True],
    "stage_light_block": [False, False],
    "stage_kernel_size": [3, 3],
    "stage_numb_of_layers": [1, 1],
    "out_features": ["stage1", "stage2"],
    "depths": [1, 1],
    "hidden_sizes": [16, 32],
    "embedding_size": 8,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "yolos": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "num_detection_tokens": QUERIES,
        "patch_size": 8,
    },
    "detr": DETR,
    "conditional_detr": DETR,
    "deformable_detr": DETR
    | {
        "num_feature_levels": 2,
        "disable_custom_kernels": True,
        "backbone_config": RESNET | {"out_features": ["stage1", "stage2"]},
    },
    "rt_detr": TWO_MAPS,
    "rt_detr_v2": TWO_MAPS | {"decoder_n_levels": 2},
    "d_fine": TWO_MAPS | {"feat_strides": [4, 8], "backbone_config": HGNET},
}


def small_task(**arguments: Any) -> ObjectDetection:
    return ObjectDetection(**{"labels": SHAPES, "height": SIDE, "width": SIDE, **arguments})


def made_rows(count: int = 6, seed: int = 0) -> list[dict[str, Any]]:
    made = sample_scenes(SIDE, train=count, validation=2, eval=2, seed=seed).train
    return [{**row, "index": place} for place, row in enumerate(made)]


def save_detector(folder: Path, family: str = "yolos", seed: int = 0, **changes: Any) -> Path:
    """A random network of the family whose answers depend on what it reads: conditioned, as a trained one is."""
    task = small_task()
    create({"model_type": family, **FAMILIES[family], **changes}, folder, task, seed)
    net = conditioned(task.at(folder).networks.load(folder), seed)
    net.save_pretrained(folder)  # type: ignore[operator]
    return folder


def conditioned(net: nn.Module, seed: int) -> nn.Module:
    """Weights without which random networks tie or vanish: wider matrices, norms that have seen pictures."""
    with torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(seed)
        for weight in net.parameters():
            if weight.dim() == 2:
                weight.copy_(torch.randn_like(weight) * weight.shape[1] ** -0.5)
            elif weight.dim() == 4:
                nn.init.kaiming_normal_(weight)
        net.train()
        for _ in range(20):
            net(pixel_values=torch.randn(4, 3, SIDE, SIDE))
    return net.eval()
