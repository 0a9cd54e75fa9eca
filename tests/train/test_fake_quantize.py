"""Quantization-aware training: the arithmetic is that of int8, and what was trained with it survives it."""

import contextlib
import copy
from pathlib import Path

import pytest
import torch
from small_text import small_bert, small_rows, small_task
from torch import nn

from kd2deploy.methods.logit import logit
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.fake_quantize import fake_quantized, quantized_input, quantized_weight, symmetric_input
from kd2deploy.train.settings import Settings


def test_a_rounded_linear_map_is_the_integer_product_rescaled():
    torch.manual_seed(0)
    layer, value = nn.Linear(16, 8), torch.randn(5, 16)
    low, high = value.min().clamp(max=0), value.max().clamp(min=0)
    step = (high - low) / 255
    zero = (-low / step).round()
    inputs = ((value / step).add(zero).round().clamp(0, 255) - zero).long()
    scales = layer.weight.abs().amax(1) / 127
    weights = (layer.weight / scales[:, None]).round().long()
    expected = (inputs @ weights.T).float() * step * scales + layer.bias
    with fake_quantized(layer, "int8"):
        torch.testing.assert_close(layer(value), expected, rtol=1e-4, atol=1e-5)
    assert not torch.equal(layer(value), expected), "outside it computes in full precision again"


def test_symmetric_bytes_have_zero_in_the_middle():
    value = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    step = 3 / 127
    torch.testing.assert_close(symmetric_input(value), (value / step).round() * step)
    assert symmetric_input(torch.linspace(0, 3, 1000)).unique().numel() == 128, "half of the steps are below zero"
    assert quantized_input(torch.linspace(0, 3, 1000)).unique().numel() == 256
    layer = nn.Linear(4, 2)
    with fake_quantized(layer, "int8_symmetric"):
        found = layer(value)
    torch.testing.assert_close(
        found, nn.functional.linear(symmetric_input(value), quantized_weight(layer.weight), layer.bias)
    )


def test_a_convolution_is_rounded_per_output_channel():
    torch.manual_seed(0)
    layer, value = nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.randn(2, 3, 9, 9)
    with fake_quantized(layer, "int8"):
        found = layer(value)
    plain = nn.functional.conv2d(quantized_input(value), quantized_weight(layer.weight), layer.bias, 2, 1)
    torch.testing.assert_close(found, plain)
    assert len(quantized_weight(layer.weight)[0].unique()) <= 255


def test_gradients_pass_straight_through_the_rounding():
    torch.manual_seed(0)
    weight = torch.randn(4, 6, requires_grad=True)
    quantized_weight(weight).sum().backward()
    torch.testing.assert_close(weight.grad, torch.ones_like(weight))
    value = torch.randn(3, 6, requires_grad=True)
    (quantized_input(value) + symmetric_input(value)).sum().backward()
    torch.testing.assert_close(value.grad, torch.full_like(value, 2))


@pytest.mark.parametrize("value", [torch.zeros(2, 3), torch.full((2, 3), 4.0), torch.full((2, 3), -4.0)])
def test_constant_inputs_stay_what_they_are(value):
    torch.testing.assert_close(quantized_input(value), value)
    torch.testing.assert_close(symmetric_input(value), value)


def test_names_and_weights_are_left_alone_also_after_an_error():
    net = small_bert(2, 16, seed=1)
    before = copy.deepcopy(net.state_dict())
    with contextlib.suppress(RuntimeError), fake_quantized(net, "int8"):
        assert list(net.state_dict()) == list(before)
        raise RuntimeError
    assert all("forward" not in vars(layer) for layer in net.modules())
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())


def test_a_network_without_products_is_refused():
    with pytest.raises(ValueError, match="quantize: Sequential has no linear map or convolution"):
        fake_quantized(nn.Sequential(nn.ReLU()), "int8").__enter__()


def badly_scaled() -> nn.Module:
    """A student with one hidden unit per block 300 times as large as the rest: bytes cannot hold both."""
    net = small_bert(2, 32, seed=1)
    with torch.no_grad():
        for block in net.bert.encoder.layer:
            block.intermediate.dense.weight[0] *= 300
            block.output.dense.weight[:, 0] /= 300
    return net


def test_distilled_with_rounding_the_rounded_student_is_nearer_to_the_teacher(tmp_path: Path):
    teacher, task, rows = small_bert(4, 32, seed=2), small_task(), small_rows(48)
    batch = task.reader.collate(rows)
    with torch.no_grad():
        wanted = task.networks.observe(teacher, batch).logits.softmax(-1)

    def distance(quantize: str) -> float:
        """Of the student's rounded answers, after the same training with or without rounding."""
        student = badly_scaled()
        settings = Settings(epochs=30, batch=16, learning_rate=3e-3, keep="last", quantize=quantize)
        distill(
            Training(task, student, logit(temperature=1.0, alpha=1.0), rows, settings, teacher=teacher),
            tmp_path / quantize,
            device="cpu",
        )
        assert all("forward" not in vars(layer) for layer in student.modules())
        with torch.no_grad(), fake_quantized(student.eval(), "int8"):
            found = task.networks.observe(student, batch).logits.softmax(-1)
        return float((found - wanted).abs().mean())

    assert distance("int8") < distance("none")
