"""A teacher in shards, one for each process of a training: PyTorch's FSDP (`fully_shard`), for one that fits no device.

Of every block's weights each process holds its part. While a block is run all processes hold it whole, so they all run
the teacher at the same time, each on its own rows. Word embeddings and heads stay whole in each: methods read them by
themselves.
"""

import torch
import torch.distributed as dist
from torch import nn
from transformers import PreTrainedModel

from kd2deploy.networks.several import single
from kd2deploy.train.settings import Settings


def placed(teacher: nn.Module, settings: Settings, device: torch.device) -> None:
    """Bring a frozen teacher to the device: this process's shard, where the settings say so, else the whole.

    Raises ValueError where it has no blocks.
    """
    if settings.cuts_teacher:
        shard(teacher, device)
    teacher.to(device)


def shard(teacher: nn.Module, device: torch.device) -> None:
    """Cut every block among all processes. One block at a time is on the device whole, also while it is cut."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for block in reversed(blocks_of(teacher)):  # what a block holds comes before the block
        fully_shard(block, mesh=mesh, reshard_after_forward=True)


def blocks_of(teacher: nn.Module) -> list[nn.Module]:
    """The modules that its library's model of it keeps in one piece, but for that with the input embeddings; those of
    every member, where several networks are one teacher. Raises ValueError where it names none."""
    found: list[nn.Module] = []
    for net in single(teacher):
        named = set(net._no_split_modules or ()) if isinstance(net, PreTrainedModel) else set()
        blocks = [module for module in net.modules() if type(module).__name__ in named]
        if not blocks:
            raise ValueError(
                f"shard_teacher cuts a network by its blocks, and transformers names none of a {type(net).__name__}; "
                "leave it out"
            )
        inputs = input_embeddings(net)
        found += [block for block in blocks if inputs not in set(block.modules())]
    return found


def input_embeddings(net: nn.Module) -> nn.Module | None:
    try:
        found: nn.Module = net.get_input_embeddings()  # type: ignore[operator]
    except NotImplementedError:  # transformers finds none in networks of convolutions
        return None
    return found
