"""The shares' arithmetic, by hand."""

import pytest
import torch
import torch.nn.functional as F
from _gpu_shares import Work, shares, types_of, work_of
from torch import Tensor, nn

WORK = Work(
    parameters=1000,
    weights={"linear": 100, "convolution": 50, "other": 10},
    flops={"linear": 2 * 10**12, "convolution": 10**12, "attention": 10**12},
)
PEAKS = {"fp32_tflops": 1.0, "fp16_tflops": 2.0, "int8_tflops": 4.0, "fp8_tflops": None} | {"copy_gb_per_s": 1e-6}


def test_int8_products_are_counted_at_the_int8_peak_and_attention_at_the_fp16_one() -> None:
    found = shares(WORK, types_of("tensorrt-int8"), 1, 2.5, PEAKS)
    assert found["matmul_share"] == pytest.approx((3 / 4 + 1 / 2) / 2.5)
    assert found["weights_bandwidth_share"] == pytest.approx((150 + 2 * 10) / 2.5 / 1e3)


def test_fp8_leaves_convolutions_in_fp16_and_is_null_without_its_peak() -> None:
    types = types_of("tensorrt-fp8")
    assert types["convolution"] == "fp16"
    assert shares(WORK, types, 1, 1.0, PEAKS)["matmul_share"] is None
    convolutional = Work(1, WORK.weights, {"linear": 0, "convolution": 10**12, "attention": 0})
    assert shares(convolutional, types, 1, 1.0, PEAKS)["matmul_share"] == pytest.approx(1 / 2)


def test_fp32_is_fp32_everywhere_and_a_batch_does_as_much_more() -> None:
    found = shares(WORK, types_of("torch-eager-fp32"), 2, 16.0, PEAKS)
    assert found["matmul_share"] == pytest.approx(0.5)
    assert found["weights_bandwidth_share"] == pytest.approx(4 * 160 / 16 / 1e3)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.linear, self.norm = nn.Embedding(100, 4), nn.Linear(4, 6), nn.LayerNorm(6)

    def forward(self, ids: Tensor) -> Tensor:
        one = self.norm(self.linear(self.table(ids)))
        return F.scaled_dot_product_attention(one, one, one)


def test_attention_is_counted_and_embedding_tables_are_not_read() -> None:
    net = Small().eval()
    work = work_of(net, net, (torch.zeros(1, 5, dtype=torch.int64),))
    assert work.flops == {"linear": 2 * 5 * 4 * 6, "convolution": 0, "attention": 2 * (2 * 5 * 5 * 6)}
    assert work.weights == {"linear": 24, "convolution": 0, "other": 6 + 2 * 6}
    assert work.parameters == 400 + 24 + 6 + 12
