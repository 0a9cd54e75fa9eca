"""Dynamic shapes as torch.export wants them told."""

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def as_taken(module: "nn.Module", shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    """One entry per input; for `forward(self, *inputs)` torch.export expects them one level deeper."""
    parameters = inspect.signature(module.forward).parameters.values()
    several = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    return (shapes,) if several else shapes
