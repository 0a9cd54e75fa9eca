"""Whether a network fits into this machine, asked before it is built."""

from pathlib import Path
from typing import Any

import torch

from kd2deploy.errors import ModelError
from kd2deploy.networks import own
from kd2deploy.networks.foreign import refused_as

BYTES = 4
"""Of one weight in fp32."""
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container says how much memory it may use."""


def refuse_too_large(auto: str, config: Any) -> None:
    """Raises ModelError for a configuration whose network does not fit into the memory, without building it.

    `config` is transformers' own; the network is laid out without weights and counted.
    """
    with refused_as(f"a {config.model_type} cannot be built so"), torch.device("meta"):
        sketch = own.auto(auto).from_config(config)
        needed = BYTES * sum(tensor.numel() for tensor in (*sketch.parameters(), *sketch.buffers()))
    free = available_bytes()
    if needed > free:
        raise ModelError(
            f"a {config.model_type} of this configuration has {needed / BYTES / 1e9:,.1f} billion weights, which take "
            f"{needed / 1e9:,.0f} GB, and {free / 1e9:,.0f} GB of memory are free here; take a smaller one"
        )


def available_bytes() -> int:
    """Memory that can be had: the machine's, or what its container may use."""
    import psutil

    limits = [file.read_text().strip() for file in LIMITS if file.is_file()]
    allowed = [int(limit) for limit in limits if limit.isdigit()]
    return min([int(psutil.virtual_memory().available), *allowed])
