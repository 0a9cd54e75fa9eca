"""Attentions as their softmax made them, for networks that drop some out before they hand them over.

In training mode transformers returns attentions after dropout: rows then sum to anything, and some entries are 0 by
chance. What papers compare is the softmax itself. The dropout still acts on what the network goes on with.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Dropouts(TorchFunctionMode):
    """Remembers what each dropout inside the block has read, so that a result of one can be traced back to it."""

    def __init__(self) -> None:
        super().__init__()
        self.read: dict[int, tuple[Tensor, Tensor]] = {}
        """By the result's id: the result, kept alive so that its id stays its own, and what the dropout read."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is F.dropout:
            self.read[id(found)] = (found, args[0])
        return found

    def before(self, result: Tensor) -> Tensor:
        """What a dropout made `result` of; `result` itself where no dropout did."""
        _, read = self.read.get(id(result), (result, result))
        return read
