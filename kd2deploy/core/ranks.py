"""Processes that train one student together: what each must know of the others. In a process by itself all is as if
they were not.

A step's batch is cut into as many parts as there are processes, and gradients are averaged. So a mean over rows needs
nothing of this. What compares rows with each other asks for those of all processes (`gathered`), and what divides by a
number of the batch for the mean of that number (`averaged`); then two processes compute what one computes of twice the
batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def processes() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def leads() -> bool:
    """Whether this is the process that scores, tells, and writes what is kept."""
    return rank() == 0


def gathered(mine: Tensor) -> Tensor:
    """[N, *D] of every process, all equally many rows or not, one behind the other in the processes' order: [M, *D].

    The gradient is that of the sum of what all processes compute of it. A process may compute the loss of its own rows
    among all, or that of all rows as the others do: the average of the processes' gradients is the right one either
    way. All processes must call it equally often, in the same order.
    """
    if processes() == 1:
        return mine
    lengths = [int(length) for length in everyones(torch.tensor([len(mine)], device=mine.device))]
    padded = torch.cat([mine, mine.new_zeros(max(lengths) - len(mine), *mine.shape[1:])])
    if padded.is_floating_point() and padded.requires_grad:
        found: Tensor = Gather.apply(padded)  # type: ignore[no-untyped-call]
    else:
        found = torch.cat(everyones(padded))
    if len(set(lengths)) == 1:
        return found
    return torch.cat([part[:length] for part, length in zip(found.chunk(len(lengths)), lengths, strict=True)])


def gathered_along(mine: Tensor, axis: int) -> Tensor:
    """`gathered` along another axis than the first."""
    return mine if processes() == 1 else gathered(mine.transpose(0, axis)).transpose(0, axis)


@torch.no_grad()
def averaged(mine: Tensor) -> Tensor:
    """The mean over the processes, of the same shape in each; without gradient."""
    return mine if processes() == 1 else torch.stack(everyones(mine)).mean(0)


@contextmanager
def leader_first() -> Iterator[None]:
    """What all processes make or find on the disk: the leader makes it, and the others find it afterwards."""
    together = processes() > 1
    if together and not leads():
        dist.barrier()
    yield
    if together and leads():
        dist.barrier()


def everyones(mine: Tensor) -> list[Tensor]:
    """The tensors of all processes, which are of one shape; without gradient."""
    found = [torch.empty_like(mine, memory_format=torch.contiguous_format) for _ in range(processes())]
    dist.all_gather(found, mine.detach().contiguous())
    return found


class Gather(torch.autograd.Function):
    """`torch.distributed.nn.functional.all_gather`, which is deprecated in torch 2.13 and has no successor in 2.11."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        ctx.rows = len(mine)
        return torch.cat(everyones(mine))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.contiguous().clone()
        dist.all_reduce(summed)
        return summed.narrow(0, ctx.rows * rank(), ctx.rows)
