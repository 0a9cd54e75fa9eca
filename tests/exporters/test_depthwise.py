"""Depthwise convolutions, whose few weights per channel int8 ruins where they share one scale: a MobileNetV2."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_models import save_image_net

from kd2deploy.core import Target, made
from kd2deploy.exporters.onnx import onnx_from_torch
from kd2deploy.exporters.onnx.checking import run_all
from kd2deploy.exporters.quantize import Int8, int8_from_onnx
from kd2deploy.tasks.image_classification import ImageClassification


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with one bright third; which one is the class."""
    labels = torch.randint(0, 3, (count,))
    found = torch.randn(count, 1, 32, 32) * 0.3 - 0.5
    for place, label in enumerate(labels):
        found[place, :, :, 10 * label : 10 * label + 10] += 1.5
    return found, labels


@pytest.mark.recipe
def test_a_mobilenets_depthwise_convolutions_survive_int8(target: Target, tmp_path: Path) -> None:
    folder = save_image_net(tmp_path / "net", "mobilenet_v2", size=32)
    task = ImageClassification(["zero", "one", "two"]).at(folder)
    net = task.networks.load(folder).train()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 0.3  # its own follows the last batch alone
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(60):
        seen, labels = pictures(24)
        loss = torch.nn.functional.cross_entropy(net(pixel_values=seen).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval().save_pretrained(folder)  # type: ignore[operator]

    seen, labels = pictures(64)
    feeds = [{"pixel_values": one[None].numpy()} for one in seen]
    for name in ("onnx", "int8"):
        (tmp_path / name).mkdir()
    source = made(folder, "kd2deploy.exporters.torch.TorchSession")
    plain = onnx_from_torch(source, task, target, tmp_path / "onnx", feeds[:16])
    found = int8_from_onnx(plain, task, target, tmp_path / "int8", feeds[:16], options=Int8(mode="static"))

    graph = onnx.load(found.path).graph
    made_by = {node.output[0]: node for node in graph.node}
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    depthwise = [node for node in graph.node if any(one.name == "group" and one.i > 1 for one in node.attribute)]
    assert len(depthwise) == 17
    for node in depthwise:
        assert node.name in found.details["quantized"]
        weight = made_by[node.input[1]]
        assert weight.op_type == "DequantizeLinear"
        channels = next(one.i for one in node.attribute if one.name == "group")
        assert sizes[weight.input[1]] == channels, "one scale for each channel"

    right = {
        name: np.mean([np.argmax(one["logits"]) == label for one, label in zip(answers, labels, strict=True)])
        for name, answers in (
            ("plain", run_all(plain.path, task, target, feeds)),
            ("int8", run_all(found.path, task, target, feeds)),
        )
    }
    assert right["plain"] > 0.85, right
    assert right["int8"] > right["plain"] - 0.1, right
