"""Every family of picture classifiers that is named: made small, trained a step, cut where it can be."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kd2deploy.errors import ModelError
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.train.checkpoint import create
from kd2deploy.train.student import Trim, shrink

STACK: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
SMALL: dict[str, dict[str, Any]] = {
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 2], "layer_type": "basic"},
    "mobilenet_v2": {"depth_multiplier": 0.25},
    "convnext": {"hidden_sizes": [8, 16], "depths": [2, 2], "num_stages": 2, "patch_size": 2},
    "vit": {**STACK, "patch_size": 8},
    "deit": {**STACK, "patch_size": 8},
    "swin": {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "patch_size": 2},
    "efficientnet": {"width_coefficient": 0.25, "depth_coefficient": 0.1, "hidden_dim": 320},
    "mobilevit": {"hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16], "num_attention_heads": 2},
}
CUT = {
    "resnet": Trim(layers=[1, 1], hidden=[4, 8]),
    "convnext": Trim(layers=[1, 2], hidden=[8, 8]),
    "vit": Trim(layers=1, hidden=8),
    "deit": Trim(layers=1, hidden=8),
}


@pytest.mark.parametrize("family", SMALL)
def test_a_family_is_made_small_learns_and_is_cut_or_refused_by_name(family: str, tmp_path: Path) -> None:
    task = ImageClassification(["zero", "one", "two"], channels=3, height=32, width=32)
    folder = create({"model_type": family, **SMALL[family]}, tmp_path / "net", task)
    task = task.at(folder)
    net = task.networks.load(folder).train()
    batch = {**task.networks.example(net, 2), "labels": torch.tensor([0, 2])}
    seen = task.networks.observe(net, batch, needs=frozenset({"hidden", "embedding"}))
    assert seen.logits is not None
    assert seen.logits.shape == (2, 3)
    assert seen.embedding is not None
    assert all(states.dim() == 3 for states in seen.hidden)
    assert seen.loss is not None
    seen.loss.backward()
    assert any(bool(weight.grad.abs().sum() > 0) for weight in net.parameters() if weight.grad is not None)
    if family in CUT:
        made = shrink(folder, tmp_path / "student", task, CUT[family])
        student = task.networks.load(tmp_path / "student")
        assert made.parameters < sum(weight.numel() for weight in net.parameters())
        assert task.networks.deployed(student)(batch["pixel_values"])[0].shape == (2, 3)
    else:
        with pytest.raises(ModelError, match=f"a {family} cannot be shrunk.*create: {{model_type: {family}, ..."):
            shrink(folder, tmp_path / "student", task)
