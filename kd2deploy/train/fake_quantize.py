"""Quantization-aware training: the student computes as its int8 file will, in floating point, while it learns.

B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR
2018. Every linear map and convolution reads rounded weights and a rounded input, and gradients pass straight through
the rounding. Departs from it: an input's range is that of the batch at hand instead of a moving average, which is what
dynamic quantization computes at run time and leaves no state to save; batch norms are not folded; biases stay in
floating point. The ranges of a static graph are found by calibration afterwards, as for any student. `int8_symmetric`
rounds inputs as TensorRT reads them, with zero in the middle of the bytes, which halves the steps of what is never
negative.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Quantize = Literal["none", "int8", "int8_symmetric"]
LARGEST = 127.0
"""Of a symmetric signed byte; an asymmetric byte has 2 * 127 + 1 steps."""


class Round(torch.autograd.Function):
    """Nearest whole number; the gradient is passed on as it is (the straight-through estimator)."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        return value.round()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return gradients[0]


def rounded(value: Tensor) -> Tensor:
    found: Tensor = Round.apply(value)  # type: ignore[no-untyped-call]
    return found


def quantized_weight(weight: Float[Tensor, "out ..."]) -> Float[Tensor, "out ..."]:
    """Symmetric bytes, one scale per output channel (the first axis)."""
    widest = weight.detach().abs().flatten(1).amax(1).clamp(min=1e-12)
    scale = (widest / LARGEST).view(-1, *[1] * (weight.dim() - 1))
    return rounded(weight / scale) * scale


def quantized_input(value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Asymmetric bytes over the range of the whole tensor, widened to hold 0."""
    wide = value.float()
    low, high = wide.detach().amin().clamp(max=0), wide.detach().amax().clamp(min=0)
    scale = ((high - low) / (2 * LARGEST + 1)).clamp(min=1e-12)
    zero = (-low / scale).round()
    return ((rounded(wide / scale + zero) - zero) * scale).to(value.dtype)


def symmetric_input(value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Symmetric bytes over the widest magnitude of the whole tensor."""
    wide = value.float()
    scale = (wide.detach().abs().amax() / LARGEST).clamp(min=1e-12)
    return (rounded(wide / scale) * scale).to(value.dtype)


INPUT: Mapping[str, Callable[[Tensor], Tensor]] = {"int8": quantized_input, "int8_symmetric": symmetric_input}


def linear(layer: nn.Linear, quantize: Quantize, value: Tensor) -> Tensor:
    return F.linear(INPUT[quantize](value), quantized_weight(layer.weight), layer.bias)


def convolution(layer: nn.Conv1d | nn.Conv2d, quantize: Quantize, value: Tensor) -> Tensor:
    found: Tensor = layer._conv_forward(INPUT[quantize](value), quantized_weight(layer.weight), layer.bias)
    return found


@contextmanager
def fake_quantized(net: nn.Module, quantize: Quantize) -> Iterator[None]:
    """While it holds, linear maps and convolutions of `net` compute as in int8; names and weights stay as they are.

    Raises ValueError where the network has none of them.
    """
    if quantize == "none":
        yield
        return
    layers = [layer for layer in net.modules() if type(layer) in (nn.Linear, nn.Conv1d, nn.Conv2d)]
    if not layers:
        raise ValueError(f"quantize: {type(net).__name__} has no linear map or convolution to compute in int8")
    for layer in layers:
        apply: Callable[..., Tensor] = linear if isinstance(layer, nn.Linear) else convolution
        layer.forward = partial(apply, layer, quantize)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
