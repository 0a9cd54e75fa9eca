"""How much of the device a network uses: the time that its products and its weights take at the measured peaks.

Types are counted as they are computed in: in an int8 engine the products between activations stay in fp16, in an fp8
engine the convolutions too. What a cache keeps (small students fit into one) is read faster than copying goes, so the
share of the bandwidth may exceed 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

KINDS = {
    "aten.mm": "linear",
    "aten.addmm": "linear",
    "aten.convolution": "convolution",
    "aten.bmm": "attention",
    "aten.baddbmm": "attention",
}
"""Which kind of product PyTorch's operations are: with weights, convolutions, and between activations."""
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1, "fp8": 1}


@dataclass(frozen=True)
class Work:
    """What one request of one row asks of the device."""

    parameters: int
    weights: Mapping[str, int]
    """Parameters read by every request, by the kind of product they are part of, and `other`; no embedding tables."""
    flops: Mapping[str, int]
    """Operations by kind of product; a multiplication and an addition are two."""


def work_of(net: nn.Module, module: nn.Module, inputs: tuple[Tensor, ...]) -> Work:
    """`module` is the network as deployed. Attention is decomposed, since its fused operations are not all counted."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        module(*inputs)
    flops = dict.fromkeys(("linear", "convolution", "attention"), 0)
    for operation, count in counter.get_flop_counts()["Global"].items():
        flops[KINDS[str(operation)]] += count
    sizes = dict.fromkeys(("linear", "convolution", "tables"), 0)
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            sizes["linear"] += layer.weight.numel()
        elif isinstance(layer, (nn.Conv1d, nn.Conv2d)):
            sizes["convolution"] += layer.weight.numel()
        elif isinstance(layer, nn.Embedding):
            sizes["tables"] += layer.weight.numel()
    parameters = sum(one.numel() for one in net.parameters())
    weights = {"linear": sizes["linear"], "convolution": sizes["convolution"]}
    return Work(parameters, {**weights, "other": parameters - sum(sizes.values())}, flops)


def types_of(runtime: str) -> dict[str, str]:
    """The type of each kind of product, and of the other weights."""
    linear = runtime.rpartition("-")[2]
    inner = "fp32" if linear == "fp32" else "fp16"
    return {"linear": linear, "convolution": inner if linear == "fp8" else linear, "attention": inner, "other": inner}


def shares(
    work: Work, types: Mapping[str, str], batch: int, seconds: float, peaks: Mapping[str, float | None]
) -> dict[str, float | None]:
    """Time at the measured peaks over time taken: of the products, and of reading the weights once.

    None where a peak that is needed was not measured.
    """
    speeds = {kind: peaks.get(f"{types[kind]}_tflops") for kind, count in work.flops.items() if count}
    products = None
    if all(speeds.values()):
        products = sum(batch * work.flops[kind] / (speed * 1e12) for kind, speed in speeds.items() if speed) / seconds
    copied = peaks.get("copy_gb_per_s")
    read = sum(count * BYTES[types[kind]] for kind, count in work.weights.items())
    return {
        "matmul_share": products,
        "weights_bandwidth_share": read / seconds / (copied * 1e9) if copied else None,
    }
