"""What all that export a network of PyTorch share: its own answers, and dynamic shapes as torch.export wants them."""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kd2deploy.core import Feed, Task

if TYPE_CHECKING:
    from torch import nn


def as_taken(module: "nn.Module", shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    """One entry per input; for `forward(self, *inputs)` torch.export expects them one level deeper."""
    parameters = inspect.signature(module.forward).parameters.values()
    several = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    return (shapes,) if several else shapes


def answered(module: "nn.Module", task: Task, feeds: Sequence[Feed]) -> list[dict[str, np.ndarray[Any, Any]]]:
    """The module's outputs for each feed, by the names of the task's ports."""
    import torch

    with torch.no_grad():
        answers = [module(*(torch.from_numpy(feed[port.name]) for port in task.inputs)) for feed in feeds]
    return [{port.name: out.numpy() for port, out in zip(task.outputs, outs, strict=True)} for outs in answers]
