"""What `precision: auto` means on this machine."""

from dataclasses import replace
from typing import Any, Literal

import torch

from kd2deploy.train.settings import Settings


def resolved(settings: Settings, device: Literal["cpu", "cuda"] | None = None) -> Settings:
    """`settings` with `auto` replaced by what the device computes fastest at float32's range: bf16 or fp32."""
    if settings.precision != "auto":
        return settings
    cuda = torch.cuda.is_available() and device != "cpu"
    quick = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else cpu_multiplies_bf16()
    return replace(settings, precision="bf16" if quick else "fp32")


def cpu_multiplies_bf16() -> bool:
    """Whether the processor has instructions for products of bf16, in vectors (AVX-512 BF16) or matrix units (AMX).

    Without them bf16 is emulated and slower than fp32. A training step of a 6 x 384 encoder took 0.45 of its fp32 time
    on an AMD EPYC (Zen 5) that has the first and not the second.
    """
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # absent before torch 2.12
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
